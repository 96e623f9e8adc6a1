// Package checks meets the world outside for the health of servers and for
// notification: it probes real servers, runs scripts as keepalived runs them, judges
// whether a script is safe to be run as root, and watches tracked files and processes.
//
// It says what happened, once. What a result means (retries, up or down, weights)
// is decided elsewhere, by pure code.
//
// A check over the network ([TCP], [HTTP], [SMTP], [DNS], [UDP], [Ping]) costs a goroutine
// and a socket, no thread, so thousands may be under way. A running [Script] costs a
// process and the thread that waits for it.
package checks
