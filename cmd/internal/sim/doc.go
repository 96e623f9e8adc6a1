// Package sim plays the lab's scenarios in virtual time: the pure nodes of the daemon
// over a wire in memory, with simulated hosts, ARP caches, learning switches and TCP and
// UDP flows. Nothing sleeps; a run of minutes takes milliseconds.
//
// Everything that is left to chance (delays of the wire and of scheduling, loss, ports)
// comes from one seed: the same scenario with the same seed gives the same run, byte for
// byte. The invariants of netlab.Judge are watched all the time.
package sim
