#!/usr/bin/env bash
# checks.sh [TCP] [HTTP] [SECONDS] - what many health checks cost, and what they do to VRRP.
#
# A director with an instance at 100 ms and so many TCP_CHECKs (5000) and HTTP_GETs (1000) of
# as many servers, each made every second, held to one processor; nginx answers for all of
# them in another network namespace, on the other processors. First the instance alone, then
# with the checks, in one run. Prints for each the CPU time of the director as a share of a
# processor over the time (20 s), how many connections the servers took of how many that were
# due, and the longest time between two advertisements as tcpdump saw them on the other side.
# Root; needs go, nginx, iproute2, tcpdump, tshark, util-linux.
set -eu
tcp=${1:-5000} http=${2:-1000} time=${3:-20}
here=$(cd "$(dirname "$0")/.." && pwd)
if [ "${INSIDE:-}" = "" ]; then
  bin=$(mktemp -d)
  trap 'rm -rf "$bin"' EXIT
  (cd "$here" && go build -o "$bin/ringkeep" ./cmd/ringkeep)
  echo "kernel $(uname -r), $(nproc) cores, ringkeep $(git -C "$here" describe --always --dirty); load before: $(cut -d' ' -f1-3 /proc/loadavg)"
  INSIDE=$bin unshare --net --mount --pid --fork --mount-proc "$0" "$tcp" "$http" "$time"
  exit
fi
cd "$INSIDE"
last=$(($(nproc) - 1))
others=0-$((last > 0 ? last - 1 : 0))

unshare --net sleep 1000 & other=$!
sleep 0.2
inside() { nsenter --target "$other" --net "$@"; }
ip link set lo up
ip link add v0 type veth peer name v0 netns "$other"
ip link set v0 up
ip addr add 10.0.0.1/24 dev v0
ip route add 10.20.0.0/15 via 10.0.0.2
inside ip link set lo up
inside ip link set v0 up
inside ip addr add 10.0.0.2/24 dev v0
inside ip route add local 10.20.0.0/15 dev lo # every server's address
inside sysctl -qw net.core.somaxconn=4096
steer() { # MASK DIRECTORY [COMMAND...]: of which processors those are that hear what v0 receives
  mkdir "$2"; "${@:3}" mount -t sysfs none "$2"
  echo "$1" >"$2/class/net/v0/queues/rx-0/rps_cpus"
}
steer "$(printf %x $((1 << last)))" near
steer "$(printf %x $(((1 << last) - 1)))" far inside

cat >nginx.conf <<END
daemon off;
worker_processes 1;
pid $PWD/nginx.pid;
error_log $PWD/nginx.log;
events { worker_connections 8192; }
http { access_log off; client_body_temp_path $PWD; server { listen 80 backlog=4096; return 200 "ok"; } }
END
inside taskset -c "$others" nginx -e "$PWD/nginx.log" -c "$PWD/nginx.conf" &

instance='vrrp_instance V {
 interface v0
 virtual_router_id 1
 version 3
 advert_int 0.1
 priority 255
 virtual_ipaddress {
  10.0.0.100
 }
}'
servers() { # COUNT NET CHECK: services of 100 servers each
  local i
  for i in $(seq 0 $(($1 - 1))); do
    [ $((i % 100)) = 0 ] && printf 'virtual_server 10.1.%d.%d 80 {\n delay_loop 1\n lb_algo rr\n lb_kind TUN\n protocol TCP\n connect_timeout 1\n' "$2" $((1 + i / 100))
    printf ' real_server 10.%d.%d.%d 80 {\n  %s\n }\n' "$2" $((i / 250)) $((1 + i % 250)) "$3"
    [ $((i % 100)) = 99 ] || [ "$i" = $(($1 - 1)) ] && echo '}'
  done
  true
}
echo "$instance" >alone.conf
{
  echo "$instance"
  servers "$tcp" 20 'TCP_CHECK {
  }'
  servers "$http" 21 'HTTP_GET {
   url {
    path /
   }
  }'
} >checks.conf

cpu() { awk '{print $14 + $15}' "/proc/$1/stat"; } # clock ticks
taken() { inside awk '/^Tcp:/ && $6 ~ /^[0-9]+$/ { print $7 }' /proc/net/snmp; } # passive opens
for conf in alone checks; do
  taskset -c "$last" ./ringkeep run -f $conf.conf 2>$conf.log & director=$!
  sleep 10
  kill -0 $director || { tail -3 $conf.log >&2; exit 1; }
  inside tcpdump -i v0 -Q in -B 16384 -nn -s 64 -w $conf.pcap proto 112 2>/dev/null & dump=$!
  sleep 0.5
  c=$(cpu $director) n=$(taken)
  sleep "$time"
  c=$(($(cpu $director) - c)) n=$(($(taken) - n))
  pkill tcpdump # those of this script: it has a process namespace of its own
  wait "$dump" 2>/dev/null || true
  up=$(./ringkeep status | awk 'match($0, /[0-9]+ of [0-9]+ servers? up/) { split(substr($0, RSTART), w, " "); n += w[1] } END { print n + 0 }')
  due=0
  [ $conf = alone ] || due=$(((tcp + http) * time))
  tshark -r $conf.pcap -T fields -e frame.time_epoch 2>/dev/null | awk -v what=$conf -v c=$((c * 1000 / $(getconf CLK_TCK))) -v t="$time" -v n="$n" -v due="$due" -v up="$up" '
    { if (NR > 1 && $1 - last > worst) worst = $1 - last; last = $1 }
    END { printf "%-7s %5.1f %% of a processor, %d connections, %d were due, %d servers up; %d advertisements, %d were due, at most %.1f ms apart\n", what, c / t / 10, n, due, up, NR, t * 10, worst * 1000 }'
  kill $director
  wait $director || true
done
pkill nginx
kill "$other"
