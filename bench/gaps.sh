#!/usr/bin/env bash
# gaps.sh [RUNS [INTERVAL]] - how long a failover takes, for each pair of implementations.
#
# Plays netlab/scenarios/fleet-*.txtar one at a time, in RUNS rounds (5), with an
# advertisement interval of INTERVAL ms (1000), and prints minimum, median and maximum in
# ms of two times. Silence is from the last advertisement of the MASTER (at a stop, its
# priority 0) to the first of the other; gap is the longest time without an answer to a
# client that asks every ms. At another interval than 1000 nothing is expected, only
# measured. Root, or user namespaces; needs go, keepalived and FRR.
set -euo pipefail
runs=${1:-5}; interval=${2:-1000}
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -o "$tmp/ringkeep" ./cmd/ringkeep

adapt() { # FILE: the scenario with the interval
  [ "$interval" = 1000 ] && { cat "$1"; return; }
  sed -E -e "s/advert_int 1$/advert_int $(awk "BEGIN { print $interval / 1000 }")/" \
    -e "s/(advertisement-interval) 1000/\1 $interval/" -e 's/^(expect (silence|gap) [^ ]+) .*/\1 0s 1m/' \
    -e 's/^say /run 1200ms\n&/' "$1" # the client believes one change of a MAC a second (locktime)
}

times() { # PAIR: from the time line, "PAIR EVENT silence|gap MS" for each measurement
  awk -v pair="$1" '
    function ms(t) { return t ~ /µs$/ ? t / 1000 : t ~ /ms$/ ? t + 0 : t * 1000 }
    NF == 2 && $2 ~ /^(crash|return|stop)$/ { event = $2 }
    $2 == "=" { for (i = 4; $i != "(expected"; i++); print pair, event, $3, ms($(i - 1)) }'
}

spread() { # minimum, median and maximum of numbers, or a dash
  sort -n | awk '{ v[NR] = $1 } END { if (NR) printf "%.1f / %.1f / %.1f", v[1], v[int((NR + 1) / 2)], v[NR]; else printf "-" }'
}

theory() { # EVENT BACKUP: skew and 3 intervals at priority 100; FRR drops what is below 10 ms
  case $1 in crash) n=3 ;; stop) n=0 ;; *) printf -- "-"; return ;; esac
  awk -v n="$n" -v i="$interval" -v frr="$([ "$2" = frr ] && echo 1)" \
    'BEGIN { skew = (256 - 100) / 256 * i; if (frr) skew = int(skew / 10) * 10; printf "%.1f", n * i + skew }'
}

pairs="ringkeep-ringkeep ringkeep-keepalived keepalived-ringkeep ringkeep-frr frr-ringkeep keepalived-keepalived frr-frr"
echo "kernel $(uname -r), $(nproc) cores, $(keepalived --version 2>&1 | head -1 | cut -d' ' -f1,2), FRR $(dpkg-query -W -f '${Version}' frr), ringkeep $(git describe --always --dirty)"
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
for _ in $(seq "$runs"); do
  for pair in $pairs; do
    adapt "netlab/scenarios/fleet-$pair.txtar" >"$tmp/$pair.txtar"
    if "$tmp/ringkeep" lab run --dir "$tmp/lab" "$tmp/$pair.txtar" >"$tmp/out" 2>&1; then
      rm -rf "$tmp/lab"
    else
      kept=$(mktemp -d)
      mv "$tmp/lab" "$kept"
      echo "$pair: $(grep '^FAILED' "$tmp/out"), see $kept" >&2
    fi
    times "$pair" <"$tmp/out" >>"$tmp/times"
  done
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)"
echo
echo "| MASTER | BACKUP | event | theory | silence: min / median / max | gap of a client: min / median / max | runs |"
echo "| --- | --- | --- | --- | --- | --- | --- |"
for pair in $pairs; do
  for event in crash stop return; do
    pick() { awk -v k="$pair $event $1" '$1 " " $2 " " $3 == k { print $4 }' "$tmp/times"; }
    echo "| ${pair%-*} | ${pair#*-} | $event | $(theory "$event" "${pair#*-}") | $(pick silence | spread) | $(pick gap | spread) | $(pick gap | wc -l) |"
  done
done
