// Package ipvs programs the kernel's IPVS with the virtual services that package forward
// describes, and reads them back.
//
// A [Kernel] speaks generic netlink by its own few messages. The library
// github.com/moby/ipvs lacks half of them (tunnels, families of servers, weights above 65535,
// 64-bit counters, the synchronization daemon), and runs modprobe for every process that opens
// it; in the tests it is a witness. [Plan] compares what is wanted with what is there, a
// [Reconciler] carries the difference out, and a [Keeper] looks after all that the kernel has
// of one director.
//
// The kernel's limits remain: a connection cannot be ended, and of its table there is only the
// text that [Conns] reads.
package ipvs
