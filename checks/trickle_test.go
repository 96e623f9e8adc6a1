package checks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// pace is how far apart the bytes of a server are that wants to be waited for.
const pace = 20 * time.Millisecond

// trickle sends a byte at a time, and after all of b the last of it over and over.
func trickle(w io.Writer, b string) {
	for i := 0; ; i++ {
		if _, err := w.Write([]byte{b[min(i, len(b)-1)]}); err != nil {
			return
		}
		time.Sleep(pace)
	}
}

// serving is a TCP server that does what serve says with each connection.
func serving(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, addr := listener(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				serve(c)
			}()
		}
	}()
	return addr
}

// TestATrickleEnds: a server that says a byte now and then, each well within the timeout, is
// not waited for longer than a whole check may take, whoever asks and whatever it is at.
func TestATrickleEnds(t *testing.T) {
	const timeout = 300 * time.Millisecond
	conf := &tls.Config{Certificates: []tls.Certificate{expired(t)}}
	smtp := func(ctx context.Context, to Target) error { return SMTP(ctx, SMTPCheck{Target: to}) }
	web := func(ctx context.Context, to Target) error {
		_, err := HTTP(ctx, HTTPCheck{Target: to, Path: "/"})
		return err
	}
	ssl := func(ctx context.Context, to Target) error {
		_, err := HTTP(ctx, HTTPCheck{Target: to, Path: "/", TLS: TLSClient("", nil)})
		return err
	}
	for _, tt := range []struct {
		name  string
		check func(context.Context, Target) error
		serve func(net.Conn)
		want  string
	}{
		{"HTTP header", web, func(c net.Conn) { trickle(c, "HTTP/1.0 200 OK\r\nX: y") }, "answer not complete in time ("},
		{"HTTP body", web, func(c net.Conn) { io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n"); trickle(c, "x") }, "answer not complete in time ("},
		{"TLS handshake", ssl, func(c net.Conn) { trickle(c, "\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03\x00") }, "TLS handshake: answer not complete in time ("},
		{"HTTP header in TLS", ssl, func(c net.Conn) { trickle(tls.Server(c, conf), "HTTP/1.0 200 OK\r\nX: y") }, "answer not complete in time ("},
		{"HTTP body in TLS", ssl, func(c net.Conn) {
			s := tls.Server(c, conf)
			io.WriteString(s, "HTTP/1.0 200 OK\r\n\r\n")
			trickle(s, "x")
		}, "answer not complete in time ("},
		{"SMTP greeting", smtp, func(c net.Conn) { trickle(c, "220 hello") }, "greeting: answer not complete in time ("},
		{"SMTP HELO", smtp, func(c net.Conn) { io.WriteString(c, "220 x\r\n"); c.Read(make([]byte, 100)); trickle(c, "250 y") }, "HELO: answer not complete in time ("},
		{"SMTP QUIT", smtp, func(c net.Conn) {
			for _, line := range []string{"220 x\r\n", "250 y\r\n"} {
				io.WriteString(c, line)
				c.Read(make([]byte, 100))
			}
			trickle(c, "221 z")
		}, "QUIT: answer not complete in time ("},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			to := Target{Addr: serving(t, tt.serve), Timeout: timeout}
			begun := time.Now()
			err := tt.check(t.Context(), to)
			// A busy machine may hold up the server for a timeout: then that is what is said.
			if err == nil || errors.Is(err, ErrLocal) || !strings.HasPrefix(err.Error(), tt.want) && !strings.Contains(err.Error(), "no answer in") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if took := time.Since(begun); took > wholeTimeouts*timeout+10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestJunkDatagramsEnd: datagrams that are no reply do not prolong the wait for one.
func TestJunkDatagramsEnd(t *testing.T) {
	done := make(chan bool)
	defer close(done)
	addr := datagrams(t, func(_ []byte, answer func([]byte)) {
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(pace):
					answer([]byte("no reply to anything"))
				}
			}
		}()
	})
	begun := time.Now()
	if err := DNS(t.Context(), DNSCheck{Target: Target{Addr: addr, Timeout: 300 * time.Millisecond}}); text(err) != "no answer in 300ms" {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// FuzzFirstLine: a line in pieces is the line in one.
func FuzzFirstLine(f *testing.F) {
	f.Add([]byte("220 x\r\n250 y"), 3)
	f.Add([]byte("220-a\n"), 1)
	f.Add(bytes.Repeat([]byte("x"), maxReply+1), 1000)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		piece = max(1, piece&0xfff)
		us, them := net.Pipe()
		go func() {
			for rest := b; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				if _, err := them.Write(rest[:min(piece, len(rest))]); err != nil {
					break
				}
			}
			them.Close()
		}()
		line, err := firstLine(&talkative{Conn: us, ctx: t.Context(), timeout: time.Minute, end: time.Now().Add(time.Minute)})
		us.Close()
		whole, _, ended := bytes.Cut(b[:min(len(b), maxReply)], []byte("\n"))
		if ended != (err == nil) || ended && !bytes.Equal(line, bytes.TrimSuffix(whole, []byte("\r"))) {
			t.Errorf("%q in pieces of %d: %q, %v", b, piece, line, err)
		}
	})
}

// FuzzUDPReply: a pattern accepts what it was made of.
func FuzzUDPReply(f *testing.F) {
	f.Add([]byte{0xa1, 7, 3}, []byte{0xff, 0, 0xff}, []byte{0xa1, 9, 3})
	f.Fuzz(func(t *testing.T, reply, mask, got []byte) {
		if len(reply) == 0 || len(mask) < len(reply) || len(reply) > 255 {
			return
		}
		c := UDPCheck{Required: true, Reply: reply, Mask: mask[:len(reply)]}
		c.judge(got)
		if err := c.judge(reply); err != nil {
			t.Errorf("%x under %x: %v", reply, mask, err)
		}
	})
}

// FuzzNumber: what is read is within 32 bits.
func FuzzNumber(f *testing.F) {
	f.Add(" -0x10")
	f.Add("08")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseNumber(s); err == nil && int(int32(n)) != n {
			t.Errorf("%q: %d", s, n)
		}
	})
}

// FuzzKernelTalk: messages of inotify and of the process connector.
func FuzzKernelTalk(f *testing.F) {
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		(&File{path: "/nosuch/file", wd: 1}).read(b)
		if pid, _ := toLookAt(b); pid != 0 && len(b) < procDataAt+8 {
			t.Errorf("%x: process %d", b, pid)
		}
	})
}
