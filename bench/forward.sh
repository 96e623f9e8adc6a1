#!/usr/bin/env bash
# forward.sh LIMITS [ROUNDS] - what a forwarded frame costs, beside what the machine can do.
#
# LIMITS is the folder of the bare forwarders (gofwd.go, fwd.c, xgen.c, topo.sh). Makes
# three namespaces in a row, sends 64-byte UDP frames into the director's device from
# inside the kernel, and prints for each forwarder, interleaved in ROUNDS rounds, packets
# a second and CPU time of the process a packet. The bare ones rewrite two MACs and look
# nothing up; ringkeep runs its daemon: connection table, scheduler, TTL, neighbour.
# Root; needs gcc, go, iproute2. Compare ratios inside one run only.
set -u
limits=$(cd "$1" && pwd); rounds=${2:-3}
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$(mktemp -d)
. "$limits/topo.sh"
trap 'topo_down; rm -rf "$bin"' EXIT
for p in fwd xgen; do gcc -O2 -I"$limits" -o "$bin/$p" "$limits/$p.c"; done
(cd "$limits" && go build -o "$bin/gofwd" gofwd.go)
(cd "$here" && go build -o "$bin/ringkeep" ./cmd/ringkeep)
cat > "$bin/d.conf" <<'CONF'
virtual_server 10.9.0.100 PORT {
    lb_algo rr
    lb_kind DR
    protocol UDP
    real_server 10.9.1.2 PORT {
    }
}
CONF
sed -i "s/PORT/${PORT:-9}/" "$bin/d.conf"
field() { tr ' ' '\n' | grep -A1 -x "$1" | tail -1; }
bare() { # NAME command...
  local name=$1; shift
  ip netns exec $D "$@" >"$bin/out" 2>&1 & local p=$!
  sleep 0.4
  ip netns exec $D "$bin/xgen" -i d0 -d $VMAC -s 64 -t 1 >/dev/null
  wait $p
  local l; l=$(grep pps "$bin/out" | tail -1)
  echo "forward $name pps $(echo "$l" | field pps) cpu_ns_per_pkt $(echo "$l" | field cpu_ns_per_pkt)"
}
ticks() { awk '{print ($14+$15)}' "/proc/$1/stat"; }
director() {
  ip -n $D addr add 10.9.0.100/32 dev d0
  ip netns exec $D "$bin/ringkeep" run -f "$bin/d.conf" 2>"$bin/log" & local p=$!
  sleep 0.6
  local pid; pid=$(pgrep -f "$bin/ringkeep run" | head -1)
  local rx0 rx1 c0 c1
  local t0 t1
  rx0=$(sink_rx); c0=$(ticks "$pid"); t0=$(date +%s%N)
  ip netns exec $D "$bin/xgen" -i d0 -d $D0M -D 10.9.0.100 -s 64 -t 1 >/dev/null
  t1=$(date +%s%N)
  sleep 0.1
  rx1=$(sink_rx); c1=$(ticks "$pid")
  kill "$pid"; wait $p || true
  awk -v n=$((rx1-rx0)) -v c=$((c1-c0)) -v t=$((t1-t0)) -v hz="$(getconf CLK_TCK)" \
    'BEGIN{printf "forward ringkeep pps %.0f cpu_ns_per_pkt %.0f\n", n/t*1e9, c/hz*1e9/(n?n:1)}'
}
for _ in $(seq "$rounds"); do
  topo_up
  bare c-bare "$bin/fwd" -i d0 -o d1 -d $SM -R v2 -T mmsg -t 1.6
  bare go-bare "$bin/gofwd" -mode raw -i d0 -o d1 -d $SM -t 1.6
  bare go-naive "$bin/gofwd" -mode naive -i d0 -o d1 -d $SM -t 1.6
  director
done
