// Package forward decides which real server a packet of a virtual service goes to, as
// the kernel's IPVS decides it: a connection table with IPVS' states and timeouts,
// persistence templates, counters, and the schedulers of package sched. So far the
// forwarding method is direct routing (DR) over IPv4, for TCP and UDP, and servers
// on the director itself.
//
// It leaves Ethernet addresses, neighbours, resets and ICMP errors to its caller: a
// [Decision] names what to do. Policies where IPVS leans on the kernel's own stack:
// a TCP segment that belongs to no connection and does not open one is answered with
// a reset ([NoConn]); a service without a server that can take a connection answers
// with ICMP port unreachable ([NoDestination]); fragments but the first are dropped
// ([Fragment]), since only the first carries ports.
package forward
