// Package node is one director as a pure function of what happens to it: the VRRP
// instances, the neighbour table, the forwarder, the decisions about real servers
// and the tracking of scripts and interfaces, composed.
//
// An event with a time goes into [Node.Step], a list of actions comes out; the next
// deadline is a value to be asked for. Frames of virtual services take the narrower
// door [Node.Frame], which rewrites in place and builds no values. There is no
// socket, no clock, no goroutine and no random number in here: the daemon's loop and
// every test drive the same node, and the same events at the same times give the
// same actions.
//
// A port is an interface of the host; its number is its place in the list of links
// that [New] was given.
package node
