// Package fsm is the state machine of one VRRP instance over IPv4, versions 2 and 3
// (RFC 3768 §6.4, RFC 9568 §6.4), with what keepalived adds to it: FAULT, nopreempt
// and preempt_delay, tracking with and without weight, bursts of gratuitous ARP.
//
// Events with a time go in, actions come out, the next deadline is a value to be
// asked for. It leaves frames, sockets and addresses to others and knows no clock.
// Where keepalived and the RFC differ it does what keepalived does, except that a
// frame that is refused moves no timer, and that no timer outlives its state.
//
// RFC 9568 says Active where this package says MASTER.
package fsm
