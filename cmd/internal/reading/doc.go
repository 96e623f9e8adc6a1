// Package reading says in plain words what the VRRP instances of one director make of a
// received frame, without running them: whoever watches a wire knows the states and asks
// for the rest (RFC 9568 §6.4 and §7.1, RFC 3768). Which instance a frame is for and what
// it holds against it, [node.Node.Hear] says, as for the daemon.
//
// What it cannot know is told as the rule has it: how long a preempt delay has run
// already, whether a startup delay is over, for how long an owner has heard another, and which numbers of authentication
// headers were heard before: a replay counts as the first.
package reading
