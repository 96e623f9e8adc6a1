#!/usr/bin/env bash
# interop.sh [RUNS] - the interop matrix as a table: how long nobody advertises.
#
# Plays TestInterop of netlab RUNS times (3) and prints for each run of the matrix the
# median silence in ms at a crash of the first node, of the second and at a clean stop, with
# the theory in brackets, and the longest time with two MASTERs of all runs. Root, or user
# namespaces; needs go, keepalived and FRR.
set -euo pipefail
runs=${1:-3}
cd "$(dirname "$0")/.."
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
echo "kernel $(uname -r), $(nproc) cores, $(keepalived --version 2>&1 | head -1 | cut -d' ' -f1,2), FRR $(dpkg-query -W -f '${Version}' frr), ringkeep $(git describe --always --dirty)"
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
go test -count="$runs" -timeout 30m ./netlab -run '^TestInterop$' -v >"$tmp" || { grep -E 'FAIL' "$tmp" >&2; }
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)"
echo
echo "| form | nodes, the best first | crash | second crash | stop | two MASTERs | runs |"
echo "| --- | --- | --- | --- | --- | --- | --- |"
sed -n 's/frr/FRR/g; s/.*matrix|//p' "$tmp" | sort -t'|' -k1,1 -k2,2 -k3,3 -k5,5n | awk -F'|' '
  function flush() {
    if (!n) return
    if (event == "both") both = v[n]; else out[event] = sprintf("%.1f (%.1f)", v[int((n + 1) / 2)], theory)
    runs = n; n = 0
  }
  function row() {
    flush()
    if (key == "") return
    split(key, k, "|")
    printf "| %s | %s | %s | %s | %s | %.1f | %d |\n", k[1], k[2], out["crash1"], "crash2" in out ? out["crash2"] : "-", out["stop"], both, runs
    delete out; both = 0
  }
  { if ($1 "|" $2 != key) { row(); key = $1 "|" $2 } else if ($3 != event) flush()
    event = $3; theory = $4; v[++n] = $5 }
  END { row() }'
