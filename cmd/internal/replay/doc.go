// Package replay puts a model in the place of a recorded director: it hears what that one
// heard, when it did, and what it would send is held against what was sent. The first
// difference is what there is to look at.
//
// # What the capture does not show
//
// The start of a process is not in a capture. Its nearest trace is the membership report
// for 224.0.0.18 or ff02::12: the instance is taken to have started with it, or up to half a second
// later where its first advertisement says so. Without one (unicast) the start is counted
// back from the first advertisement by the master down interval. A director whose first
// advertisement comes without gratuitous ARP was MASTER before the capture began, and one
// that never advertises listens from the first packet on.
//
// An instance that says priority 0 was told to stop, by an operator or by a fault that the
// capture does not show: the model stops with it and starts anew by the same rules. All
// else counts: a crash, a freeze and a cut link are a silence that the rules do not know,
// and a tracking script that fails is another priority.
//
// A process wakes a little after its timers. The model ticks when the director spoke, if
// that was within the tolerance, so that this does not add up; and a packet that arrives
// within the tolerance after a timer counts before it, unless the director spoke in between;
// one that arrives just before the director takes over may not have been read.
// Equal advertisements within 5 ms count as one: two MASTERs that answer each other keep step.
// What the lab dropped or damaged on the way to the director, its comments tell; packets that
// it delayed or repeated bear none, and are taken as they were sent.
package replay
