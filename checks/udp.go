package checks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// UDPCheck describes one UDP_CHECK.
type UDPCheck struct {
	Target
	Payload  []byte // sent; nil for 32 bytes of filler
	Required bool   // there must be a reply

	// What a reply must begin with, and under which bits: compared as far as both reach.
	// The lengths count with a pattern only, as in keepalived; a MaxLength of 0 is 255.
	Reply, Mask          []byte
	MinLength, MaxLength int
}

// UDP sends one datagram. Without Required silence is success, and any answer that is not
// an ICMP error. The error is as that of [TCP].
func UDP(ctx context.Context, c UDPCheck) error {
	conn, err := c.talk(ctx, unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.within()
	payload := c.Payload
	if len(payload) == 0 {
		payload = filler(32)
	}
	if _, err := conn.Write(payload); err != nil {
		return conn.failed(err, 0)
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	switch {
	case err == nil:
		return c.judge(buf[:n])
	case errors.Is(err, os.ErrDeadlineExceeded) && conn.ctx.Err() == nil && !c.Required:
		return nil
	}
	return conn.failed(err, 0)
}

// filler is text that a person recognizes in a capture.
func filler(n int) []byte {
	return []byte(strings.Repeat("ringkeep health check ", n/22+1)[:n])
}

func (c UDPCheck) judge(reply []byte) error {
	if !c.Required || len(c.Reply) == 0 {
		return nil
	}
	most := c.MaxLength
	if most == 0 {
		most = 255
	}
	if len(reply) < c.MinLength || len(reply) > most {
		return fmt.Errorf("reply of %d bytes, expected %d to %d", len(reply), c.MinLength, most)
	}
	for i := range min(len(reply), len(c.Reply)) {
		if (reply[i]^c.Reply[i])&c.Mask[i] != 0 {
			return fmt.Errorf("reply %s, expected %s", clip(fmt.Sprintf("%x", reply)), c.pattern())
		}
	}
	return nil
}

// pattern is the expected reply in digits, x where any will do.
func (c UDPCheck) pattern() string {
	var b strings.Builder
	for i, v := range c.Reply {
		for _, shift := range []int{4, 0} {
			if c.Mask[i]>>shift&0xf == 0 {
				b.WriteByte('x')
			} else {
				fmt.Fprintf(&b, "%x", v>>shift&0xf)
			}
		}
	}
	return b.String()
}
