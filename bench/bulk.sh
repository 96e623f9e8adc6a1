#!/usr/bin/env bash
# bulk.sh LIMITS [ROUNDS] - one TCP stream of iperf3 through ringkeep, a bare C forwarder and the kernel
#
# By turns, 2 s each, default offloads, the answers past the director: ringkeep as a DR director,
# the same without flows offloaded to the kernel (ring), the forwarder with the virtio header
# passed through, and IP forwarding. Prints Gbit/s.
# LIMITS is the folder of fwd.c and topo.sh. Root; needs gcc, go, iproute2, iperf3.
set -u
limits=$(cd "$1" && pwd)
rounds=${2:-3}
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$(mktemp -d)
. "$limits/topo.sh"
trap 'topo_down; rm -rf "$bin"' EXIT
gcc -O2 -I"$limits" -o "$bin/fwd" "$limits/fwd.c"
(cd "$here" && go build -o "$bin/ringkeep" ./cmd/ringkeep)
vip=10.9.0.100
cat > "$bin/d.conf" <<CONF
vrrp_instance V {
    interface d0
    virtual_router_id 10
    priority 255
    virtual_ipaddress {
        $vip
    }
}
virtual_server $vip 5201 {
    lb_algo wlc
    lb_kind DR
    protocol TCP
    real_server 10.9.1.2 5201 {
    }
}
CONF
triangle() { # the sink answers by a way of its own
  topo_up
  ip link add g1 netns $G type veth peer name s1 netns $S
  ip -n $G link set g1 up; ip -n $S link set s1 up
  ip -n $G addr add 10.9.2.1/24 dev g1; ip -n $S addr add 10.9.2.2/24 dev s1
  ip netns exec $S sysctl -qw net.ipv4.conf.all.arp_ignore=1
  ip -n $S addr add $vip/32 dev lo; ip -n $S route replace 10.9.0.0/24 via 10.9.2.1
  ip -n $D neigh replace 10.9.1.2 lladdr $SM dev d1 nud permanent
}
bulk() { # NAME [COMMAND...]: what forwards, until it is told to end
  local name=$1 p= gbits; shift
  ip netns exec $S iperf3 -s -1 >/dev/null & local s=$!
  if [ $# -gt 0 ]; then ip netns exec $D nice -n -5 "$@" >/dev/null 2>&1 & p=$!; fi
  until ip netns exec $G ping -qc1 -W1 $vip >/dev/null || [[ $name != ring* ]]; do :; done
  gbits=$(ip netns exec $G timeout 8 iperf3 -c $vip -t 2 -f g | awk '/receiver/{print $(NF-2)}')
  if [ -n "$p" ]; then kill -INT "$p"; wait "$p"; fi
  kill $s 2>/dev/null; wait $s 2>/dev/null
  echo "bulk $name gbits ${gbits:-0}"
}
for _ in $(seq "$rounds"); do
  triangle; ip -n $G neigh replace $vip lladdr $VMAC dev g0 nud permanent
  bulk c-vnet "$bin/fwd" -i d0 -o d1 -d $SM -R v2 -T mmsg -V -F 131072 -B 1048576 -N 32 -t 4
  triangle
  bulk ringkeep "$bin/ringkeep" run -f "$bin/d.conf"
  triangle
  bulk ring "$bin/ringkeep" run -f "$bin/d.conf" --flow-offload=false
  triangle; ip -n $D route add $vip/32 via 10.9.1.2; ip -n $G neigh replace $vip lladdr $D0M dev g0 nud permanent
  ip netns exec $D sysctl -qw net.ipv4.ip_forward=1
  bulk kernel
done
