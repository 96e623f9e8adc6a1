// Package netlab runs several nodes on one machine: hosts are network namespaces, the
// links between them end in a wire in userspace, or in a bridge of the kernel to which it
// listens, directors are real processes. It plays
// scenario files, breaks what they say, waits for what they expect, and keeps every
// frame of the lab in one capture.
//
// A scenario is a txtar archive. Its comment holds the drawing (lines with #) and the
// statements, one a line; the files behind it are configurations and scripts:
// NODE.conf is the configuration of a node, NODE:/absolute/path a file that this node
// alone sees.
//
// docs/lab.md lists the statements; [Scenario.Check] knows their forms.
//
// Conditions are
//
//	NODE state MASTER|BACKUP|FAULT [INSTANCE]   as the node's log says
//	HOST holds ADDR, HOST lacks ADDR            as its kernel says
//	HOST sees ADDR at NODE                      its neighbour entry is a MAC of that node
//	HOST sees ADDR at MAC                       or this one
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
