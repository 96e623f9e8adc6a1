#!/usr/bin/env bash
# overload.sh LIMITS - do advertisements leave on time while the forwarder is flooded?
#
# A MASTER with a 50 ms interval is also the director of a UDP service; for 4 s more frames
# arrive than it can forward. Prints how many it forwarded and dropped, and the mean and
# the longest time between two advertisements as a neighbour captured them.
# LIMITS is the folder of xgen.c and topo.sh. Root; needs gcc, go, iproute2, tcpdump.
set -u
limits=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$(mktemp -d)
. "$limits/topo.sh"
trap 'topo_down; rm -rf "$bin"' EXIT
gcc -O2 -I"$limits" -o "$bin/xgen" "$limits/xgen.c"
(cd "$here" && go build -o "$bin/ringkeep" ./cmd/ringkeep)
cat > "$bin/d.conf" <<'CONF'
vrrp_instance V {
    interface d0
    version 3
    virtual_router_id 9
    priority 200
    advert_int 0.05
    virtual_ipaddress {
        10.9.0.100
    }
}
virtual_server 10.9.0.100 9 {
    lb_algo rr
    lb_kind DR
    protocol UDP
    real_server 10.9.1.2 9 {
    }
}
CONF
topo_up
ip netns exec $D "$bin/ringkeep" run -f "$bin/d.conf" 2>"$bin/log" & director=$!
sleep 1.2
timeout 6 ip netns exec $G tcpdump -i g0 -nn -w "$bin/a.pcap" proto 112 2>/dev/null &
sleep 0.5
before=$(sink_rx)
ip netns exec $D "$bin/xgen" -i d0 -d $D0M -D 10.9.0.100 -s 64 -t 4
echo "forwarded $(( $(sink_rx) - before ))"
sleep 2
kill "$(pgrep -f "$bin/ringkeep run" | head -1)"; wait $director
grep -h 'msg=ring' "$bin/log" | grep -o 'iface=d0 received=[1-9].*dropped=[0-9]*'
tcpdump -nn -tt -r "$bin/a.pcap" 2>/dev/null |
  awk 'NR>1{d=$1-p; if(d>m)m=d; s+=d; n++} {p=$1} END{printf "advertisements %d mean %.4f s longest %.4f s\n", n+1, s/n, m}'
