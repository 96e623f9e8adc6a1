#!/usr/bin/env bash
# instances.sh [INSTANCES] [SECONDS] [INTERFACES] - what many instances cost.
#
# A MASTER and a BACKUP of so many instances (255), 1 s apart, each in a network namespace
# of its own, joined by so many veth pairs (1), over which the instances are spread evenly;
# first ringkeep on both sides, then keepalived, in one run. Prints for each the CPU time of MASTER and BACKUP over the time (20 s), how many
# advertisements tcpdump captured of how many that were due, and the longest time between two of
# one instance. Root; needs go, keepalived, iproute2, tcpdump, tshark, util-linux.
set -eu
n=${1:-255} time=${2:-20} k=${3:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
if [ "${INSIDE:-}" = "" ]; then
  bin=$(mktemp -d)
  trap 'rm -rf "$bin"' EXIT
  (cd "$here" && go build -o "$bin/ringkeep" ./cmd/ringkeep)
  INSIDE=$bin unshare --net --mount --pid --fork --mount-proc "$0" "$n" "$time" "$k"
  exit
fi
cd "$INSIDE"
conf() { # PRIORITY
  for i in $(seq 0 $((n - 1))); do
    printf 'vrrp_instance V%d {\n interface v%d\n virtual_router_id %d\n priority %d\n virtual_ipaddress {\n  10.%d.%d.%d\n }\n}\n' \
      "$i" $((i % k)) $((1 + i / k)) "$1" $((i % k)) $((1 + i / k / 250)) $((1 + i / k % 250))
  done
}
conf 150 >master.conf
conf 100 >backup.conf
cpu() { # CONF: clock ticks of its processes
  local total=0 p
  for p in $(pgrep -f "$1"); do total=$((total + $(awk '{print $14 + $15}' "/proc/$p/stat" 2>/dev/null || echo 0))); done
  echo "$total"
}
ms() { echo $(($1 * 1000 / $(getconf CLK_TCK))); }
for program in ringkeep keepalived; do
  unshare --net sleep 1000 & other=$!
  sleep 0.2
  inside() { nsenter --target "$other" --net "$@"; }
  for i in $(seq 0 $((k - 1))); do
    ip link add "v$i" type veth peer name "v$i" netns "$other"
    ip link set "v$i" up; ip addr add "10.$i.0.11/16" dev "v$i"
    inside ip link set "v$i" up; inside ip addr add "10.$i.0.12/16" dev "v$i"
  done
  start() { # CONF, and what comes before the program
    local conf=$1; shift
    if [ $program = ringkeep ]; then "$@" ./ringkeep run -f "$conf" 2>"$program.$conf.log" &
    else "$@" keepalived -n -l -P -f "$conf" -p "$PWD/$conf.pid" -r "$PWD/$conf.vrrp" >"$program.$conf.log" 2>&1 & fi
  }
  start master.conf env
  sleep 1
  start backup.conf inside
  sleep 12
  inside tcpdump -i any -Q in -B 16384 -nn -s 64 -w a.pcap proto 112 2>/dev/null & dump=$!
  sleep 0.5
  m=$(cpu master.conf) b=$(cpu backup.conf)
  sleep "$time"
  m=$(($(cpu master.conf) - m)) b=$(($(cpu backup.conf) - b))
  pkill tcpdump; wait $dump 2>/dev/null || true
  tshark -r a.pcap -T fields -e ip.src -e vrrp.virt_rtr_id -e frame.time_epoch 2>/dev/null | awk -v n="$n" -v what=$program -v m="$(ms $m)" -v b="$(ms $b)" -v t="$time" '
    { id = $1 " " $2; if (id in last && $3 - last[id] > worst) worst = $3 - last[id]; last[id] = $3; all++ }
    END { printf "%-10s MASTER %5d ms, BACKUP %5d ms of CPU in %d s; %d advertisements, %d were due, at most %.1f ms apart\n", what, m, b, t, all, n * t, worst * 1000 }'
  pkill -f 'master.conf|backup.conf' || true
  sleep 3
  for i in $(seq 0 $((k - 1))); do ip link del "v$i"; done
  kill "$other"
done
