// Package fsm is one VRRP instance as a state machine: who is MASTER, since when, and
// why. It follows RFC 9568 (version 3) and RFC 3768 (version 2), and where they leave
// a choice it does what keepalived does by default.
//
// An [Instance] is driven by [Instance.Step]: an [Event] and the time go in, a list
// of [Action] comes out, to be carried out in order. [Instance.Deadline] is when it
// wants the next [Tick]. It holds no clock, no socket and no goroutine; the same
// calls give the same answers. Received messages are judged by [Instance.Check]
// first, and only accepted ones become a [Heard].
//
// The states are those of keepalived. INIT is before [Startup], after [Shutdown], and
// while a tracker of weight 0 has not answered yet. BACKUP and MASTER are the RFC's
// (RFC 9568 says Active for MASTER). FAULT cannot take part: it ignores and sends
// nothing and holds no address, until the last reason for it is gone.
//
// A [Group] is a sync group: instances that are in one state.
//
// Where this package does not follow keepalived 2.2.7, on purpose:
//
//   - The advertisement timer is restarted by own advertisements only. A frame that
//     was refused changes nothing, so nobody can silence a MASTER with bad frames.
//   - Timers die with the state that armed them: no late gratuitous ARP of a former
//     term, one burst timer of each kind, one refresh timer.
//   - Entering FAULT from MASTER sends one advertisement of priority 0, not two, and
//     none over a link that is down.
//   - An interval of 0 and a count of 0 are refused (RFC 9568 errata 8299, 8301).
//   - A different address list is a remark, not a refusal (RFC 9568 §7.1; keepalived
//     from 2.3.3).
//   - Of two owners the one with the greater address stays MASTER, and the other obeys
//     until it is gone. If the other does not listen to owners (RFC 3768 §7.1), the
//     greater one gives in after 1.2 intervals and goes on as 254, for so long.
package fsm
