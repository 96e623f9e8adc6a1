package checks

import (
	"bufio"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// raw is a TCP server that reads a request and then does what serve says.
func raw(t *testing.T, serve func(c *net.TCPConn, request string)) netip.AddrPort {
	t.Helper()
	return serving(t, func(c net.Conn) {
		var request strings.Builder
		for r := bufio.NewReader(c); !strings.HasSuffix(request.String(), "\r\n\r\n"); {
			line, err := r.ReadString('\n')
			request.WriteString(line)
			if err != nil {
				return
			}
		}
		serve(c.(*net.TCPConn), request.String())
	})
}

func says(text string) func(*net.TCPConn, string) {
	return func(c *net.TCPConn, _ string) { io.WriteString(c, text) }
}

// 1.6: these bytes and no others.
func TestHTTPRequest(t *testing.T) {
	six := Target{Addr: netip.MustParseAddrPort("[2001:db8::1]:80")}
	four := Target{Addr: netip.MustParseAddrPort("10.0.0.11:80")}
	for _, tt := range []struct {
		check HTTPCheck
		want  string
	}{
		{HTTPCheck{Target: four, Path: "/a b"}, "GET /a b HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.0.11:80\r\n\r\n"},
		{HTTPCheck{Target: six, Path: "/", Protocol: "1.0"}, "GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: [2001:db8::1]:80\r\n\r\n"},
		{HTTPCheck{Target: four, Path: "/", Protocol: "1.0C", Host: "www"}, "GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: www\r\n\r\n"},
		{HTTPCheck{Target: four, Path: "/", Protocol: "1.1", Host: "www"}, "GET / HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: www\r\n\r\n"},
	} {
		if got := string(tt.check.request()); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if _, err := HTTP(t.Context(), HTTPCheck{Target: four, Path: strings.Repeat("x", 2048)}); !errors.Is(err, ErrLocal) {
		t.Errorf("a request that is too long: %v", err)
	}
}

func TestHTTPVerdicts(t *testing.T) {
	sum := func(body string) []string {
		s := md5.Sum([]byte(body))
		return []string{hex.EncodeToString(s[:])}
	}
	regex := func(pattern string, o RegexOptions) *Regex {
		r, err := NewRegex(pattern, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const ok = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for _, tt := range []struct {
		name, answer, want string
		check              HTTPCheck
	}{
		{"ok", ok, "", HTTPCheck{}},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", "", HTTPCheck{}},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "HTTP status 302, expected 200-299", HTTPCheck{}},
		{"redirect is fine", "HTTP/1.1 302 Found\r\n\r\n", "", HTTPCheck{Status: [][2]int{{302, 302}}}},
		{"ranges", "HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404, expected 200-299 301", HTTPCheck{Status: [][2]int{{200, 299}, {301, 301}}}},
		{"no reason and no blank", "HTTP/1.1 200\r\n\r\n", `HTTP status missing in "HTTP/1.1 200", expected 200-299`, HTTPCheck{}},
		{"no reason but a blank", "HTTP/1.1 200 \r\n\r\n", "", HTTPCheck{}},
		{"silence", "", "connection closed before the end of the HTTP header (0 bytes)", HTTPCheck{}},
		{"another protocol", "220 mail ready\r\n", "connection closed before the end of the HTTP header (16 bytes)", HTTPCheck{}},
		{"digest", ok, "", HTTPCheck{Digests: append(sum("no"), sum("ok")...)}},
		{"digest to Content-Length", ok + " and more", "", HTTPCheck{Digests: sum("ok")}},
		{"digest of another spelling", "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nok", "", HTTPCheck{Digests: sum("ok")}},
		{"wrong digest", ok, "digest 444bcb3a3fcf8389296c49467f27e1d6, expected 7fa3b767c460b54a2be4d49030b349c7", HTTPCheck{Digests: sum("no")}},
		{"status before digest", "HTTP/1.0 500 X\r\n\r\nok", "HTTP status 500, expected 200-299", HTTPCheck{Digests: sum("no")}},
		{"regex", ok, "", HTTPCheck{Regex: regex("^ok", RegexOptions{Words: []string{"multiline"}})}},
		{"regex in the header", ok, "", HTTPCheck{Regex: regex("Length: \\d", RegexOptions{})}},
		{"other case", "HTTP/1.0 200 Fine\r\n\r\nOK", `answer does not match regex "ok"`, HTTPCheck{Regex: regex("ok", RegexOptions{})}},
		{"caseless", "HTTP/1.0 200 Fine\r\n\r\nOK", "", HTTPCheck{Regex: regex("ok", RegexOptions{Words: []string{"caseless"}})}},
		{"no match", "HTTP/1.0 200 Fine\r\n\r\nOK", `answer matches regex "ok" and must not`, HTTPCheck{Regex: regex("ok", RegexOptions{Words: []string{"caseless"}, NoMatch: true})}},
		{"digest before regex", ok, "digest 444bcb3a3fcf8389296c49467f27e1d6, expected 7fa3b767c460b54a2be4d49030b349c7", HTTPCheck{Digests: sum("no"), Regex: regex("x", RegexOptions{})}},
		{"short body", "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nok", "digest 444bcb3a3fcf8389296c49467f27e1d6, expected 7fa3b767c460b54a2be4d49030b349c7 (Content-Length says 4, the body has 2 bytes)", HTTPCheck{Digests: sum("no")}},
		{"long header", "HTTP/1.0 200 OK\r\n" + strings.Repeat("X: y\r\n", 700) + "\r\n", "HTTP header does not end within 4095 bytes", HTTPCheck{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.check.Addr, tt.check.Timeout, tt.check.Path = raw(t, says(tt.answer)), 5*time.Second, "/"
			_, err := HTTP(t.Context(), tt.check)
			if got := text(err); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Servers that take their time, or too much of everything, end the check in time.
func TestHTTPHostileServers(t *testing.T) {
	const head = "HTTP/1.0 200 OK\r\n\r\n"
	for _, tt := range []struct {
		name, want string
		least      int // timeouts that it takes
		most       int
		serve      func(c *net.TCPConn, request string)
	}{
		{"never answers", "no answer in 1s", 1, 2, func(c *net.TCPConn, _ string) { io.Copy(io.Discard, c) }},
		{"never closes", "no answer in 1s (21 bytes so far)", 1, 2, func(c *net.TCPConn, _ string) {
			io.WriteString(c, head+"ok")
			io.Copy(io.Discard, c)
		}},
		{"trickles", "answer not complete in time (", 3, 5, func(c *net.TCPConn, _ string) {
			for _, err := io.WriteString(c, head); err == nil; _, err = c.Write([]byte{'x'}) {
				time.Sleep(50 * time.Millisecond)
			}
		}},
		{"resets", "connection reset by peer", 0, 2, func(c *net.TCPConn, _ string) {
			io.WriteString(c, "HTTP/1.0 200")
			c.SetLinger(0)
		}},
		{"sends 10 MB of headers", "HTTP header does not end within 4095 bytes", 0, 2, func(c *net.TCPConn, _ string) {
			io.WriteString(c, "HTTP/1.0 200 OK\r\n"+strings.Repeat("X-Filler: 0123456789012345678901234567890123456789\r\n", 200_000))
		}},
		{"sends without end", "answer not complete in time (", 3, 6, func(c *net.TCPConn, _ string) {
			for _, err := io.WriteString(c, head); err == nil; _, err = c.Write(make([]byte, 1<<10)) {
				time.Sleep(time.Millisecond)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			timeout := time.Second
			if tt.least == 0 {
				timeout = 10 * time.Second // it must not need it, however busy the machine is
			}
			begun := time.Now()
			r, err := NewRegex("nowhere", RegexOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = HTTP(t.Context(), HTTPCheck{Target: Target{Addr: raw(t, tt.serve), Timeout: timeout}, Path: "/", Regex: r})
			took := time.Since(begun)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || errors.Is(err, ErrLocal) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if took < time.Duration(tt.least)*timeout || took > time.Duration(tt.most)*timeout+5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// What is said of Content-Length is said of a whole answer only: who was refused for its
// status, or has not ended, may have had more to say.
func TestHTTPRemark(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok":                    "",
		"HTTP/1.0 200 OK\r\n\r\nok":                                         "",
		"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nok":                    "Content-Length says 9, the body has 2 bytes",
		"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nok":                    "Content-Length says 1, the body has 2 bytes",
		"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nok":                    "", // keepalived does not know it so
		"HTTP/1.0 200 OK\r\nContent-Length: x\r\n\r\nok":                    "",
		"HTTP/1.0 500 No\r\nContent-Length: 9\r\n\r\nok":                    "",
		"HTTP/1.0 200 OK\r\nContent-Length: 9":                              "",
		"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nContent-Length: 2\r\n\r\n": "",
	} {
		a, _ := HTTP(t.Context(), HTTPCheck{Target: Target{Addr: raw(t, says(answer)), Timeout: 5 * time.Second}, Path: "/"})
		if got := a.Remark(); got != want {
			t.Errorf("%q: %q, want %q", answer, got, want)
		}
	}
	addr := raw(t, func(c *net.TCPConn, _ string) {
		io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nok")
		io.Copy(io.Discard, c)
	})
	a, err := HTTP(t.Context(), HTTPCheck{Target: Target{Addr: addr, Timeout: 200 * time.Millisecond}, Path: "/"})
	if got := a.Remark(); err == nil || got != "" {
		t.Errorf("of an answer that has not ended: %q, %v", got, err)
	}
}

func TestHTTPIsCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := raw(t, func(c *net.TCPConn, _ string) {
		cancel()
		io.Copy(io.Discard, c)
	})
	begun := time.Now()
	_, err := HTTP(ctx, HTTPCheck{Target: Target{Addr: addr, Timeout: 20 * time.Second}, Path: "/"})
	if !errors.Is(err, ErrLocal) || time.Since(begun) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

// A body in pieces is judged as in one.
func FuzzHTTPAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), 3)
	f.Add([]byte("HTTP/1.0 2\r\n\r\n"), 1)
	f.Add([]byte("\r\n\r\nContent-Length: -1\r\n\r\n"), 2)
	f.Add([]byte(" 999 \r\nContent-Length:99999999999999999999\r\n\r\nx"), 5)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		piece = max(1, piece&0xff)
		whole, pieces := reader{sum: md5.New(), keep: true}, reader{sum: md5.New(), keep: true}
		err := whole.take(b)
		var err2 error
		for rest := b; len(rest) > 0 && err2 == nil; rest = rest[min(piece, len(rest)):] {
			err2 = pieces.take(rest[:min(piece, len(rest))])
		}
		a, c := whole.answer(), pieces.answer()
		if (err == nil) != (err2 == nil) || err == nil && (a.Digest != c.Digest || a.Status != c.Status || a.Length != c.Length) {
			t.Errorf("%+v %v; in pieces %+v %v", a, err, c, err2)
		}
		if a.Status != 0 && (a.Status < 0 || a.Status > 999) {
			t.Errorf("status %d", a.Status)
		}
	})
}

// TestHTTPErrno: only what speaks of the server is a failure.
func TestConversationErrors(t *testing.T) {
	c := &talkative{ctx: t.Context(), timeout: time.Second, end: time.Now().Add(time.Second)}
	if err := c.failed(&net.OpError{Err: unix.ECONNRESET}, 7); text(err) != "connection reset by peer (7 bytes so far)" {
		t.Errorf("got %v", err)
	}
	if err := c.failed(&net.OpError{Err: unix.ENOBUFS}, 0); !errors.Is(err, ErrLocal) {
		t.Errorf("got %v", err)
	}
}
