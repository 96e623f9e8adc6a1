// Package bench measures what forwarding costs: a daemon of this project with a real
// keepalived.conf beside the barest forwarders in C and in Go and beside the kernel's own
// forwarding, by turns and in one run, so that a ratio means something on a machine whose
// speed drifts.
//
//	    10.9.0.1                     10.9.0.254   10.9.1.254                10.9.1.2 to .5
//	generator g0 ───────────────── d0 director d1 ───────────────── s0 sink, 10.9.9.100 on lo
//	          g1 ─────────────────────────────────────────────────── s1
//	    10.9.2.1                                                        10.9.2.2
//
// Frames for the throughput come from inside the kernel of the director, as if a driver had
// received them ([ring.Source]), so that their source is never the limit; they end in a sink
// that drops them first thing, for their destination MAC is nobody's. Answers of the sink
// come back by g1, as those of a server with direct routing do.
//
// Each measurement is made in namespaces of its own ([stage]), and gives one line of Go's
// benchmark format; [Report] has them all, with medians and ratios, and writes them as text,
// JSON and a page.
package bench
