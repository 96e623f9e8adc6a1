// Package netlab runs several nodes on one machine: hosts are network namespaces, the
// links between them end in a wire in userspace, directors are real processes. It plays
// scenario files, breaks what they say, waits for what they expect, and keeps every
// frame of the lab in one capture.
//
// A scenario is a txtar archive. Its comment holds the drawing (lines with #) and the
// statements, one a line; the files behind it are configurations and scripts:
// NODE.conf is the configuration of a node, NODE:/absolute/path a file that this node
// alone sees.
//
//	lan NAME
//	host NAME LAN:IFACE ADDR/LEN...             an ordinary host
//	realserver NAME LAN:IFACE ADDR/LEN vip ADDR  with the address on lo and ARP quiet, for DR
//	node NAME ringkeep|keepalived LAN:IFACE ADDR/LEN...   a director
//	serve HOST tcp|udp|http PORT                servers that tell the host's name
//	unserve HOST tcp|udp|http PORT              stop one: connections are refused
//	addr HOST add|del ADDR/LEN IFACE            change an address by hand
//	up NODE...                                  start; after a crash the links come back too
//	stop NODE                                   SIGTERM, and wait until it is gone
//	kill NODE                                   SIGKILL to all that it started
//	crash NODE                                  the links are cut, then SIGKILL: a power loss
//	link HOST up|down                           its carrier
//	drop HOST [to HOST] [vrrp|arp|tcp|udp|all]  one direction; heal ends all drops
//	heal
//	tolerate two-masters                        where that is what the scenario shows
//	wait TIME CONDITION                         until it holds, at most TIME
//	stays TIME CONDITION                        it holds all the time
//	flow NAME HOST connect ADDR:PORT RATE       short connections a second
//	flow NAME HOST download ADDR:PORT BYTES     one connection, every byte checked
//	probe NAME HOST udp|http ADDR:PORT          one question a millisecond
//	stopflow NAME                               end a flow or probe
//	mark                                        gaps and silences count from here
//	expect gap NAME LOW HIGH                    longest time without an answer to a probe
//	expect silence VRID LOW HIGH                between the last advertisement of one node and the first of the next
//	expect clean NAME                           no connection of a connect flow failed
//	expect even NAME N                          the servers of a connect flow differ by N connections at most
//	expect served NAME HOST...                  these and no others served a connect flow
//	ask HOST http|udp|tcp ADDR:PORT NAME[|NAME] one question, and who may answer it
//	say TEXT                                    print it
//
// Conditions are
//
//	NODE state MASTER|BACKUP|FAULT [INSTANCE]   as the node's log says
//	HOST holds ADDR, HOST lacks ADDR            as its kernel says
//	HOST sees ADDR at NODE                      its neighbour entry is a MAC of that node
//	advert NODE [priority N]                    the next one on the wire
//	log NODE TEXT                               a line that holds it
//	file NODE PATH TEXT                         a file of its own that holds it
//	flow NAME done                              a download is complete
//	flow NAME answers                           a probe has been answered
//
// On every scenario one invariant is watched: once the election is over, no two nodes
// advertise the same VRID by turns, unless a drop is in force or the scenario tolerates it.
//
// Nothing that a lab makes is pinned anywhere: namespaces, links and processes end with
// it, even when it is killed.
package netlab
