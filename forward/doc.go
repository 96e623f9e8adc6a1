// Package forward decides which real server a packet of a virtual service goes to, as
// the kernel's IPVS decides it: a connection table with IPVS' states and timeouts,
// persistence templates, counters, and the schedulers of package sched; and rewrites the
// packet as the forwarding method asks: direct routing (DR), NAT there and back, tunnels, and
// servers on the director itself, over IPv4 and IPv6, for TCP, UDP and SCTP.
//
// It leaves Ethernet addresses, neighbours, resets and ICMP errors to its caller: a
// [Decision] names what to do. Policies where IPVS leans on the kernel's own stack:
// a TCP segment that belongs to no connection and does not open one is answered with
// a reset ([NoConn]), unless the service says otherwise ([Midstream]), and of a service of
// every port is the local stack's ([Stray]); a service without a server that can take a
// connection answers with ICMP port unreachable ([NoDestination]); a later fragment goes where
// the first one went, since only that carries ports, and is dropped where that was not seen
// ([Fragment]).
package forward
