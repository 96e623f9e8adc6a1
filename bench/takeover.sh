#!/usr/bin/env bash
# takeover.sh [RUNS [LINE]] - how exactly the BACKUP takes over, beside keepalived.
#
# Plays RUNS (100, in tens) losses of the MASTER at advert_int 0.01 and RUNS/10 clean stops
# at 1 s, VRRPv3, priority 100, with ringkeep on both nodes and with keepalived on both, ten and
# one by turns, and prints minimum, median, 95th and 99th percentile and maximum in ms of the
# longest time without an answer to a client that pings the address twice a ms, and how many
# runs were within the bound: 3 intervals and the skew, or the skew alone, and 5 ms. Before each
# loss the same client measures as long a time in which nothing happens: the control, which is
# what machine and client add. A loss before which the other node had taken over already, as on a
# machine that is busy, is counted apart and within no bound, as is one without a figure. The
# nodes lose by turns: with equal priorities the one that returns stays BACKUP. LINE goes into
# global_defs of both, such as "vrrp_rt_priority 10".
# Root, or user namespaces; needs go and keepalived.
set -euo pipefail
runs=${1:-100} line=${2:-}
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -o "$tmp/ringkeep" ./cmd/ringkeep

scenario() { # PROGRAM EVENT(crash|stop) INTERVAL(s) TIMES
  cat <<TXT
lan lan bridge
host client lan:eth0 10.0.0.1/24
node a $1 lan:eth0 10.0.0.11/24
node b $1 lan:eth0 10.0.0.12/24
needs namespaces
tolerate two-masters
tolerate no-master
up a
wait 8s a state MASTER
up b
wait 8s b state BACKUP
probe every-ms client icmp 10.0.0.100
wait 2s flow every-ms answers
TXT
  # Cut off the MASTER is as silent as without power, and is killed when the time is taken: the end
  # of its process would hold locks of the one kernel that both nodes have here.
  local master=a backup=b window=41ms after_it=150ms
  [ "$2" = crash ] || window=614ms after_it=1s
  for _ in $(seq "$4"); do # a client believes one change of a MAC a second (locktime)
    local loss="$2 $master" after=""
    [ "$2" = stop ] || loss="partition $master | $backup client" after="crash $master"$'\nheal\n'
    cat <<TXT
wait 3s client sees 10.0.0.100 at $master
run 1200ms
mark
run $window
expect gap every-ms 0s 1m
mark
$loss
run $after_it
wait 5s $backup state MASTER
wait 2s client sees 10.0.0.100 at $backup
wait 2s advert $backup
expect gap every-ms 0s 1m
${after}up $master
wait 8s $master state BACKUP
TXT
    read -r master backup <<<"$backup $master"
  done
  for n in a b; do
    cat <<TXT
-- $n.conf --
global_defs {
    $line
}
vrrp_instance VI_1 {
    version 3
    interface eth0
    virtual_router_id 51
    priority 100
    advert_int $3
    virtual_ipaddress {
        10.0.0.100/24
    }
}
TXT
  done
}

measure() { # PROGRAM EVENT INTERVAL TIMES: two lines for each into times, the control and the loss
  scenario "$1" "$2" "$3" "$4" >"$tmp/a.txtar"
  "$tmp/ringkeep" lab run --dir "$tmp/lab" "$tmp/a.txtar" >"$tmp/out" 2>&1 || grep '^FAILED' "$tmp/out" >&2
  rm -rf "$tmp/lab"
  awk -v what="$1 $2" '
    function ms(t) { return t ~ /µs$/ ? t / 1000 : t ~ /ms$/ ? t + 0 : t * 1000 }
    $2 == "=" { for (i = 4; $i != "(expected"; i++); if ($3 == "gap") print what, (n++ % 2 ? "loss" : "control"), ms($(i - 1)) }' "$tmp/out" >>"$tmp/times"
}

row() { # PROGRAM EVENT INTERVAL TIMES BOUND(ms)
  line "$1 $2 loss" "| $1 | $2, interval $3 s | $5 |" "$4" "$5"
  line "$1 $2 control" "| | nothing, as long | |" "$4"
}

line() { # WHAT HEAD TIMES [BOUND]
  awk -v what="$1" '$1 " " $2 " " $3 == what { print $4 }' "$tmp/times" | sort -n | awk -v head="$2" -v times="$3" -v bound="${4:-}" '
    bound && $1 < bound - 20 { early++; next }
    { v[++n] = $1; within += $1 <= bound }
    END {
      if (!n) exit 1
      q = int(n * 0.95 + 0.5); r = int(n * 0.99 + 0.5)
      count = within + 0 " of " times (early ? ", " early " taken over before" : "") (NR < times ? ", " times - NR " without a figure" : "")
      printf "%s %.2f / %.2f / %.2f / %.2f / %.2f | %s |\n", head, v[1], v[int((n + 1) / 2)], v[q], v[r], v[n], bound ? count : ""
    }'
}

echo "kernel $(uname -r), $(nproc) cores, $(keepalived --version 2>&1 | head -1 | cut -d' ' -f1,2), ringkeep $(git describe --always --dirty)"
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
for _ in $(seq $((runs / 10))); do
  for program in ringkeep keepalived; do
    measure $program crash 0.01 10
    measure $program stop 1 1
  done
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)"
echo
echo "| program | event | bound, ms | gap of the client, ms: min / median / p95 / p99 / max | within the bound |"
echo "| --- | --- | --- | --- | --- |"
for program in ringkeep keepalived; do
  row $program crash 0.01 $((runs / 10 * 10)) 41.1
  row $program stop 1 $((runs / 10)) 614.4
done
