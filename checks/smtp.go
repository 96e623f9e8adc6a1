package checks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// DefaultHelo is the name that keepalived says in HELO where none is written.
const DefaultHelo = "smtpchecker.keepalived.org"

// maxReply bounds the first line of a mail server's reply.
const maxReply = 2048

// SMTPCheck describes one SMTP_CHECK.
type SMTPCheck struct {
	Target
	Helo string // "" for [DefaultHelo]
}

// SMTP makes one check: the greeting has code 220, HELO is answered by 250, QUIT by any
// line. As keepalived does it looks at the first line that arrives of each, whose code is
// followed by a blank or by nothing: a reply of several lines is a failure. The error is
// as that of [TCP].
func SMTP(ctx context.Context, c SMTPCheck) error {
	helo := c.Helo
	if helo == "" {
		helo = DefaultHelo
	}
	conn, err := c.talk(ctx, unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, step := range []struct{ say, name, code string }{
		{"", "greeting", "220"}, {"HELO " + helo + "\r\n", "HELO", "250"}, {"QUIT\r\n", "QUIT", ""},
	} {
		if step.say != "" {
			if _, err := io.WriteString(conn, step.say); err != nil {
				return named(step.name, conn.failed(err, 0))
			}
		}
		line, err := firstLine(conn)
		if err != nil {
			return named(step.name, err)
		}
		if step.code != "" && replyCode(line) != step.code {
			return fmt.Errorf("%s: got %q, expected %s", step.name, clip(string(line)), step.code)
		}
	}
	return nil
}

// named says at which step of a dialogue an error came.
func named(step string, err error) error {
	if errors.Is(err, ErrLocal) {
		return err
	}
	return fmt.Errorf("%s: %w", step, err)
}

// firstLine reads until a line is complete, and returns the first one without its end.
func firstLine(conn *talkative) ([]byte, error) {
	buf := make([]byte, maxReply)
	for n := 0; n < len(buf); {
		k, err := conn.Read(buf[n:])
		n += k
		if line, _, ok := bytes.Cut(buf[:n], []byte("\n")); ok {
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("connection closed (%d bytes)", n)
		case err != nil:
			return nil, conn.failed(err, int64(n))
		}
	}
	return nil, fmt.Errorf("no line within %d bytes", maxReply)
}

// replyCode is the code of a reply, "" where it is none: three digits alone, or with a
// blank behind them.
func replyCode(line []byte) string {
	code, _, _ := bytes.Cut(line, []byte(" "))
	if len(code) != 3 || len(bytes.Trim(code, "0123456789")) > 0 {
		return ""
	}
	return string(code)
}
