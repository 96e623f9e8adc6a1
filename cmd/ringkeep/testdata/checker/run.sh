#!/bin/sh
# run.sh COMMAND...: runs a director in this directory, and has the servers come and go.
mount -t tmpfs none /run
ip link set lo up
echo 1 > code
python3 servers.py &
servers=$!
"$@" > log 2>&1 &
director=$!
# Until nothing has been told for 6 s: more than any check takes from one try to the next.
settle() {
	same=0 before=
	while [ $same -lt 12 ]; do
		sleep 0.5
		now=$(wc -c 2>&1 <told)
		if [ "$now" = "$before" ] && [ -s told ]; then same=$((same + 1)); else same=0; fi
		before=$now
	done
}
settle; touch up; echo 22 > code
settle; rm up; echo 1 > code
settle; touch up; echo 12 > code
settle; echo 2 > code
settle
kill $director
wait $director
kill $servers
