#!/bin/sh
# run.sh COMMAND...: runs a director in this directory, and has the servers come and go.
mount -t tmpfs none /run
ip link set lo up
echo 1 > code
python3 servers.py &
servers=$!
"$@" > log 2>&1 &
director=$!
sleep 6.5; touch up; echo 22 > code
sleep 8; rm up; echo 1 > code
sleep 9; touch up; echo 12 > code
sleep 7; echo 2 > code
sleep 4.5
kill $director
wait $director
kill $servers
