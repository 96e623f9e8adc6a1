#!/usr/bin/env bash
# election.sh LIMITS [SECONDS [PROGRAM...]] - do elections hold, and adverts leave on time, under load?
#
# A MASTER with an interval of 100 ms is also the director of a UDP service, into whose
# device more frames come than it can forward; two more processes keep both cores busy for
# all of the time (120 s). A BACKUP listens on the other end. First ringkeep on both nodes,
# then keepalived (its VRRP part; its kernel refuses the frames), then both again with
# "vrrp_rt_priority 10" in the MASTER's file ("ringkeep, real time"), in one run. Prints how
# often the BACKUP left its state, and how far the time between two advertisements, as captured
# at the BACKUP, is from 100 ms: median, 99th percentile, worst.
# LIMITS is the folder of xgen.c and topo.sh. Root; needs gcc, go, keepalived, iproute2, tcpdump.
set -u
limits=$(cd "$1" && pwd) time=${2:-120}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- ringkeep keepalived "ringkeep, real time" "keepalived, real time"
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$(mktemp -d)
. "$limits/topo.sh"
trap 'kill $(jobs -p) 2>/dev/null; topo_down; rm -rf "$bin"' EXIT
gcc -O2 -I"$limits" -o "$bin/xgen" "$limits/xgen.c"
(cd "$here" && go build -o "$bin/ringkeep" ./cmd/ringkeep)
conf() { # INTERFACE PRIORITY
  cat <<CONF
vrrp_instance V {
    interface $1
    version 3
    virtual_router_id 9
    priority $2
    advert_int 0.1
    virtual_ipaddress {
        10.9.0.100/24
    }
}
CONF
}
{ printf 'global_defs {\n}\n'; conf d0 200; printf 'virtual_server 10.9.0.100 9 {\n lb_algo rr\n lb_kind DR\n protocol UDP\n real_server 10.9.1.2 9 {\n }\n}\n'; } >"$bin/a.conf"
conf g0 100 >"$bin/b.conf"
start() { # NAMESPACE NODE: the program in the background, its log in NODE.log
  if [ "$program" = ringkeep ]; then
    ip netns exec "$1" "$bin/ringkeep" run -f "$bin/$2.conf" 2>"$bin/$2.log" &
  else
    ip netns exec "$1" keepalived -n -l -P -f "$bin/$2.conf" -p "$bin/$2.pid" -r "$bin/$2.vrrp" >"$bin/$2.log" 2>&1 &
  fi
}
echo "kernel $(uname -r), $(nproc) cores, $(keepalived --version 2>&1 | head -1 | cut -d' ' -f1,2), ringkeep $(cd "$here" && git describe --always --dirty)"
echo
echo "| program | frames/s that came, forwarded | adverts | from 100 ms, ms: p50 / p99 / worst | longest time between two, ms | changes of the BACKUP |"
echo "| --- | --- | --- | --- | --- | --- |"
for round in "$@"; do
  program=${round%,*}
  [ "$round" = "$program" ] || sed -i '1,/^}/c\global_defs {\n    vrrp_rt_priority 10\n}' "$bin/a.conf"
  topo_up
  start $D a
  sleep 1.5
  start $G b
  sleep 1.5
  before=$(grep -c 'Entering' "$bin/b.log")
  timeout $((time + 1)) ip netns exec $G tcpdump -i g0 -nn -w "$bin/a.pcap" vrrp 2>/dev/null & dump=$!
  for _ in 1 2; do timeout "$time" bash -c 'while :; do :; done' & done
  rx=$(sink_rx)
  came=$(ip netns exec $D "$bin/xgen" -i d0 -d $D0M -D 10.9.0.100 -s 64 -t "$time" | tr ' ' '\n' | grep -A1 -x pps | tail -1)
  forwarded=$(( ($(sink_rx) - rx) / time ))
  wait $dump
  changes=$(($(grep -c 'Entering' "$bin/b.log") - before))
  pkill -f "$bin/[ab].conf"
  wait
  tcpdump -nn -tt -r "$bin/a.pcap" src 10.9.0.254 2>/dev/null | awk '
    NR > 1 { d = ($1 - p) * 1000 - 100; print d < 0 ? -d : d, d + 100 } { p = $1 }' | sort -n | awk -v p="$round" -v came="$came" -v f=$forwarded -v c=$changes '
    { v[NR] = $1; if ($2 > m) m = $2 }
    END { printf "| %s | %d, %d | %d | %.2f / %.2f / %.2f | %.1f | %d |\n", p, came, f, NR + 1, v[int((NR + 1) / 2)], v[int(NR * 0.99 + 0.5)], v[NR], m, c }'
done
