package checks

import (
	"context"

	"golang.org/x/sys/unix"
)

// TCP makes one TCP_CHECK: nil when the handshake completed in time, followed by a
// plain close without data. The error is a short reason in lower case, such as
// "connection refused" or "no answer in 5s"; it is [ErrLocal] where this host, not
// the server, stands in the way, also when ctx ends before the check.
//
// The socket belongs to the network namespace of the calling thread.
func TCP(ctx context.Context, t Target) error {
	conn, err := t.talk(ctx, unix.SOCK_STREAM)
	if err == nil {
		conn.Close() // the handshake is the answer, whatever becomes of the close
	}
	return err
}
