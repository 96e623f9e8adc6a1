// Package ipvs programs the kernel's IPVS with the virtual services that package forward
// describes, and reads them back.
//
// A [Kernel] speaks generic netlink: through github.com/moby/ipvs where that library says all
// there is to say, and in message.go where it does not (tunnels, families of servers,
// weights above 65535, 64-bit counters, the synchronization daemon). [Plan] compares what is
// wanted with what is there, a [Reconciler] carries the difference out.
//
// The kernel's limits remain: a connection cannot be ended, and of its table there is only the
// text that [Conns] reads.
package ipvs
