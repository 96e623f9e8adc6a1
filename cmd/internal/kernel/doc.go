// Package kernel is what ringkeep asks of the kernel beside its rings: addresses,
// links and what happens to them, rules that keep the kernel from answering for
// the ring, and group memberships. All of it goes by netlink and plain sockets.
//
// What it adds, it marks: addresses carry an address protocol of our own, drop
// rules live in one table of ours. So [Kernel.Sweep] finds what a killed run left.
package kernel
