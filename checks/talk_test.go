package checks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// script is a TCP server that says its lines: the first at once, each other one after a
// line of the client, and then closes. What the client says arrives in the channel.
func script(t *testing.T, lines ...string) (netip.AddrPort, <-chan string) {
	t.Helper()
	heard := make(chan string, 100)
	return serving(t, func(c net.Conn) {
		buf := make([]byte, 1000)
		for i, line := range lines {
			if i > 0 {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				heard <- string(buf[:n])
			}
			io.WriteString(c, line)
		}
		io.Copy(io.Discard, c)
	}), heard
}

// patience is a timeout: short where silence is what is wanted, else long enough for a
// machine that is busy.
func patience(want string) time.Duration {
	if strings.Contains(want, "in 1s") {
		return time.Second
	}
	return 10 * time.Second
}

// 1.7: the dialogue, and codes as keepalived reads them.
func TestSMTP(t *testing.T) {
	const bye = "221 bye\r\n"
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{[]string{"220 x\r\n", "250 y\r\n", bye}, ""},
		{[]string{"220\n", "250\r\n", "whatever\n"}, ""},
		{[]string{"220-a\r\n220 b\r\n", "250 y\r\n", bye}, `greeting: got "220-a", expected 220`},
		{[]string{"554 no\r\n"}, `greeting: got "554 no", expected 220`},
		{[]string{"2200 x\r\n"}, `greeting: got "2200 x", expected 220`},
		{[]string{"220 x\r\n", "502 what\r\n"}, `HELO: got "502 what", expected 250`},
		{[]string{"220 x\r\n", "250 y\r\n"}, "QUIT: no answer in 1s"},
		{[]string{""}, "greeting: no answer in 1s"},
		{[]string{"220 x"}, "greeting: no answer in 1s (5 bytes so far)"},
		{[]string{strings.Repeat("x", 10_000)}, "greeting: no line within 2048 bytes"},
	} {
		addr, heard := script(t, tt.lines...)
		if err := SMTP(t.Context(), SMTPCheck{Target: Target{Addr: addr, Timeout: patience(tt.want)}}); text(err) != tt.want || errors.Is(err, ErrLocal) {
			t.Errorf("%q: got %v, want %s", tt.lines, err, tt.want)
		}
		if tt.want == "" {
			if a, b := <-heard, <-heard; a != "HELO smtpchecker.keepalived.org\r\n" || b != "QUIT\r\n" {
				t.Errorf("the server heard %q, %q", a, b)
			}
		}
	}
	closing := raw(t, func(*net.TCPConn, string) {})
	if err := SMTP(t.Context(), SMTPCheck{Target: Target{Addr: closing, Timeout: time.Second}}); text(err) != "greeting: no answer in 1s" {
		t.Errorf("a web server: %v", err)
	}
}

// datagrams is a UDP server.
func datagrams(t *testing.T, serve func(b []byte, answer func([]byte))) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			serve(buf[:n], func(b []byte) { c.WriteToUDPAddrPort(b, from) })
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// 1.8: id, QR and RCODE count; what is no reply is passed over.
func TestDNS(t *testing.T) {
	header := func(id uint16, flags uint16) []byte {
		b := make([]byte, dnsHeader)
		binary.BigEndian.PutUint16(b, id)
		binary.BigEndian.PutUint16(b[2:], flags)
		return b
	}
	questions := make(chan dns.Msg, 100)
	for _, tt := range []struct {
		serve func(id uint16, answer func([]byte))
		want  string
	}{
		{func(id uint16, answer func([]byte)) { answer(header(id, 0x8180)) }, ""},
		{func(id uint16, answer func([]byte)) { answer(header(id, 0x8183)) }, "answer NXDOMAIN to AAAA www.example.com., expected NOERROR"},
		{func(id uint16, answer func([]byte)) { answer(header(id, 0x8002)) }, "answer SERVFAIL to AAAA www.example.com., expected NOERROR"},
		{func(id uint16, answer func([]byte)) {
			answer([]byte{1})
			answer(header(id+1, 0x8183))
			answer(header(id, 0x0183))
			answer(header(id, 0x8180))
		}, ""},
		{func(uint16, func([]byte)) {}, "no answer in 1s"},
		{func(id uint16, answer func([]byte)) { answer(header(id, 0x0180)) }, "no answer in 1s"},
	} {
		addr := datagrams(t, func(b []byte, answer func([]byte)) {
			var m dns.Msg
			if err := m.Unpack(b); err == nil {
				questions <- m
				tt.serve(m.Id, answer)
			}
		})
		err := DNS(t.Context(), DNSCheck{Target: Target{Addr: addr, Timeout: patience(tt.want)}, Type: "AAAA", Name: "www.example.com"})
		if text(err) != tt.want || errors.Is(err, ErrLocal) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	asked := <-questions
	q := asked.Question
	if len(q) != 1 || q[0].Name != "www.example.com." || q[0].Qtype != dns.TypeAAAA || q[0].Qclass != dns.ClassINET || !asked.RecursionDesired || len(asked.Extra) > 0 {
		t.Errorf("asked %v", asked.String())
	}
	if b, _, err := (DNSCheck{}).query(); err != nil || len(b) != dnsHeader+5 || b[len(b)-3] != byte(dns.TypeSOA) {
		t.Errorf("the default query is %x, %v", b, err)
	}
}

func unused(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

// 1.11: silence is success unless a reply is required.
func TestUDP(t *testing.T) {
	silent := datagrams(t, func([]byte, func([]byte)) {})
	says := func(reply ...byte) netip.AddrPort {
		return datagrams(t, func(_ []byte, answer func([]byte)) { answer(reply) })
	}
	echo := datagrams(t, func(b []byte, answer func([]byte)) { answer(b) })
	pattern := UDPCheck{Required: true, Reply: []byte{0xa1, 0, 3}, Mask: []byte{0xff, 0, 0xff}}
	short := pattern
	short.MinLength = 3
	for _, tt := range []struct {
		name  string
		addr  netip.AddrPort
		check UDPCheck
		want  string
	}{
		{"silent", silent, UDPCheck{}, ""},
		{"closed", unused(t), UDPCheck{}, "connection refused"},
		{"answers", says(1), UDPCheck{}, ""},
		{"silent, reply required", silent, UDPCheck{Required: true}, "no answer in 1s"},
		{"any reply", says(), UDPCheck{Required: true}, ""},
		{"wild digits", says(0xa1, 0x77, 3), pattern, ""},
		{"longer", says(0xa1, 0x77, 3, 4), pattern, ""},
		{"shorter", says(0xa1), pattern, ""},
		{"other", says(0xa1, 0x77, 4), pattern, "reply a17704, expected a1xx03"},
		{"too short", says(0xa1), short, "reply of 1 bytes, expected 3 to 255"},
		{"too long", says(make([]byte, 256)...), pattern, "reply of 256 bytes, expected 0 to 255"},
		{"payload", echo, UDPCheck{Payload: []byte{0xa1, 5, 3}, Required: true, Reply: []byte{0xa1, 5, 3}, Mask: []byte{0xff, 0xff, 0xff}}, ""},
	} {
		tt.check.Target = Target{Addr: tt.addr, Timeout: patience(tt.want)}
		if tt.name == "silent" {
			tt.check.Timeout = time.Second
		}
		if err := UDP(t.Context(), tt.check); text(err) != tt.want || errors.Is(err, ErrLocal) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestPing(t *testing.T) {
	needRoot(t)
	for _, addr := range []string{"127.0.0.1", "127.0.0.77", "::1"} {
		if err := Ping(t.Context(), Target{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 80), Timeout: 2 * time.Second, Device: "lo"}); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	bad := Target{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Bind: netip.MustParseAddrPort("192.0.2.1:0")}
	if err := Ping(t.Context(), bad); !errors.Is(err, ErrLocal) {
		t.Errorf("a bind that cannot be: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Ping(gone, Target{Addr: netip.MustParseAddrPort("127.0.0.1:0")}); !errors.Is(err, ErrLocal) {
		t.Errorf("called off: %v", err)
	}
}

// A raw socket hears what others have asked, too.
func TestPingAnswers(t *testing.T) {
	p := &pinger{raw: true, id: 7, seq: 1}
	reply := append(append([]byte{0x46}, make([]byte, 23)...), 0, 0, 0, 0, 0, 7, 0, 1) // a header with an option
	for i, want := range map[int]bool{-1: true, 24: false, 28: false, 29: false, 30: false, 31: false} {
		b := append([]byte(nil), reply...)
		if i >= 0 {
			b[i]++
		}
		if p.answers(b) != want {
			t.Errorf("byte %d other: %t", i, !want)
		}
	}
	for n := range reply {
		if p.answers(reply[:n]) {
			t.Errorf("%d bytes are an answer", n)
		}
	}
}

func FuzzReplies(f *testing.F) {
	f.Add([]byte("220 x"))
	f.Add([]byte{0, 1, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x45, 19: 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if code := replyCode(b); code != "" && (len(code) != 3 || !strings.HasPrefix(string(b), code)) {
			t.Errorf("%q: %q", b, code)
		}
		if code, ok := replied(b, 1); ok && (len(b) < dnsHeader || code > 15) {
			t.Errorf("%x: %d", b, code)
		}
		for _, p := range []pinger{{}, {raw: true}, {six: true}, {six: true, raw: true}} {
			p.answers(b)
		}
		UDPCheck{Required: true, Reply: []byte{1, 2}, Mask: []byte{255, 240}}.judge(b)
	})
}

// TestNothingLeaks makes 10,000 checks that fail, in every way that takes no time: neither
// a goroutine nor a descriptor of them is left.
func TestNothingLeaks(t *testing.T) {
	l, refused := listener(t)
	l.Close()
	resets := raw(t, func(c *net.TCPConn, _ string) { c.SetLinger(0) })
	gone := serving(t, func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) })
	wrong := raw(t, says("HTTP/1.0 500 no\r\n\r\n"))
	junk, _ := script(t, "554 no\r\n")
	closed := unused(t)
	nxdomain := datagrams(t, func(b []byte, answer func([]byte)) {
		b[2], b[3] = 0x81, 0x83
		answer(b)
	})
	short := Target{Timeout: time.Millisecond}
	short.Addr, _ = script(t, "")
	to := func(a netip.AddrPort) Target { return Target{Addr: a, Timeout: 5 * time.Second} }
	kinds := []func(context.Context) error{
		func(ctx context.Context) error { return TCP(ctx, to(refused)) },
		func(ctx context.Context) error {
			_, err := HTTP(ctx, HTTPCheck{Target: to(refused), Path: "/"})
			return err
		},
		func(ctx context.Context) error {
			_, err := HTTP(ctx, HTTPCheck{Target: to(resets), Path: "/"})
			return err
		},
		func(ctx context.Context) error {
			_, err := HTTP(ctx, HTTPCheck{Target: to(wrong), Path: "/"})
			return err
		},
		func(ctx context.Context) error { _, err := HTTP(ctx, HTTPCheck{Target: short, Path: "/"}); return err },
		func(ctx context.Context) error {
			_, err := HTTP(ctx, HTTPCheck{Target: to(junk), Path: "/", TLS: TLSClient("x", nil)})
			return err
		},
		func(ctx context.Context) error {
			_, err := HTTP(ctx, HTTPCheck{Target: to(gone), Path: "/", TLS: TLSClient("x", nil)})
			return err
		},
		func(ctx context.Context) error { return SMTP(ctx, SMTPCheck{Target: to(junk)}) },
		func(ctx context.Context) error { return SMTP(ctx, SMTPCheck{Target: to(refused)}) },
		func(ctx context.Context) error {
			called, off := context.WithCancel(ctx)
			off()
			return SMTP(called, SMTPCheck{Target: short})
		},
		func(ctx context.Context) error { return DNS(ctx, DNSCheck{Target: to(nxdomain)}) },
		func(ctx context.Context) error { return UDP(ctx, UDPCheck{Target: to(closed)}) },
		func(ctx context.Context) error { return Ping(ctx, Target{Addr: refused, Device: "nosuch0"}) },
		func(ctx context.Context) error {
			_, err := WatchFile("/proc/self/stat") // whose changes nobody is told of
			return err
		},
		func(ctx context.Context) error { return Script{Args: []string{"/nosuch"}}.Run(ctx).Err },
	}
	all := func(n int) {
		var running sync.WaitGroup
		room := make(chan bool, 100)
		for i := range n {
			room <- true
			running.Go(func() {
				defer func() { <-room }()
				if err := kinds[i%len(kinds)](t.Context()); err == nil {
					t.Errorf("a check of kind %d is good", i%len(kinds))
				}
			})
		}
		running.Wait()
	}
	all(100) // what is made once is made now
	eventually(t, "the servers are quiet", func() bool { return sockets(t) < 60 })
	goroutines, files := runtime.NumGoroutine(), sockets(t)
	all(10_000)
	failingScripts(t)
	eventually(t, fmt.Sprintf("as before: %d goroutines, %d files", goroutines, files), func() bool {
		return runtime.NumGoroutine() <= goroutines && sockets(t) <= files
	})
}

// failingScripts runs processes that fail, and some that must be killed.
func failingScripts(t *testing.T) {
	t.Helper()
	var running sync.WaitGroup
	for i := range 200 {
		s := Script{Args: []string{"/bin/false"}, Timeout: 20 * time.Second}
		if i%10 == 0 {
			s = Script{Args: []string{"/bin/sleep", "600"}, Timeout: time.Millisecond}
		}
		if running.Go(func() {
			if exit := s.Run(t.Context()); exit.OK() {
				t.Errorf("%q: %v", s.Args, exit)
			}
		}); i%20 == 19 {
			running.Wait()
		}
	}
}
