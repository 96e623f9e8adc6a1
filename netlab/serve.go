package netlab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The lab's servers speak a small protocol. Over TCP a client sends one line: NAME asks
// for the name of the host, GET n for n bytes of the pattern, PUT n and those bytes for
// OK or what is wrong with them; the connection ends after the answer. A UDP datagram is answered with the host's name and its own text. HTTP
// answers every path with the name.

// serve starts a server on the host; unserve refuses connections from then on.
func (h *host) serve(kind, port string) error {
	key := kind + ":" + port
	if h.servers[key] != nil {
		return fmt.Errorf("%s serves %s already", h.name, key)
	}
	if kind == "program" {
		return h.program(port)
	}
	failed := make(chan error)
	h.spawn(func() {
		if kind == "udp" {
			failed <- h.serveUDP(key, port)
			return
		}
		l, err := net.Listen(h.tcp(), ":"+port)
		if err == nil {
			h.servers[key] = func() { l.Close() }
		}
		if failed <- err; err != nil {
			return
		}
		if kind == "http" {
			http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, h.name) }))
			return
		}
		h.accept(l)
	})
	if err := <-failed; err != nil {
		return fmt.Errorf("%s: serve %s: %w", h.name, key, err)
	}
	return nil
}

// tcp is the network of the host's servers. They answer IPv6 where the host speaks it.
func (h *host) tcp() string {
	if h.six {
		return "tcp"
	}
	return "tcp4"
}

// serveUDP answers from the address that was asked, also from one that the host gets later.
func (h *host) serveUDP(key, port string) error {
	l, err := net.ListenPacket("udp4", ":"+port)
	if err != nil {
		return err
	}
	h.servers[key] = func() { l.Close() }
	c := ipv4.NewPacketConn(l)
	if err := c.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	go h.answer(c)
	if h.six {
		return h.serveUDP6(key, port)
	}
	return nil
}

// serveUDP6 is the same for IPv6, on a socket of its own.
func (h *host) serveUDP6(key, port string) error {
	l, err := net.ListenPacket("udp6", ":"+port)
	if err != nil {
		return err
	}
	end := h.servers[key]
	h.servers[key] = func() { end(); l.Close() }
	c := ipv6.NewPacketConn(l)
	if err := c.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, asked, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(append([]byte(h.name+" "), buf[:n]...), &ipv6.ControlMessage{Src: asked.Dst}, from)
		}
	}()
	return nil
}

func (h *host) unserve(kind, port string) error {
	key := kind + ":" + port
	end := h.servers[key]
	if end == nil {
		return fmt.Errorf("%s does not serve %s", h.name, key)
	}
	end()
	delete(h.servers, key)
	return nil
}

func (h *host) answer(c *ipv4.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		n, asked, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		c.WriteTo(append([]byte(h.name+" "), buf[:n]...), &ipv4.ControlMessage{Src: asked.Dst}, from)
	}
}

func (h *host) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c := patient{c}
			r := bufio.NewReader(c)
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "GET "); ok {
				if bytes, err := strconv.ParseInt(n, 10, 64); err == nil {
					io.Copy(c, io.LimitReader(&pattern{}, bytes))
				}
				return
			}
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "PUT "); ok {
				bytes, err := strconv.ParseInt(n, 10, 64)
				if err == nil {
					err = same(r, bytes)
				}
				if err != nil {
					fmt.Fprintln(c, err)
					return
				}
				fmt.Fprintln(c, "OK")
				return
			}
			fmt.Fprintln(c, h.name)
		}()
	}
}

// pattern is an endless stream that no shift, loss or repetition leaves the same
// (xorshift64*, eight bytes a step).
type pattern struct {
	x    uint64
	left int
	word [8]byte
}

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		if p.left == 0 {
			if p.x == 0 {
				p.x = 0x9e3779b97f4a7c15
			}
			p.x ^= p.x >> 12
			p.x ^= p.x << 25
			p.x ^= p.x >> 27
			v := p.x * 0x2545f4914f6cdd1d
			for j := range p.word {
				p.word[j] = byte(v >> (8 * j))
			}
			p.left = 8
		}
		b[i] = p.word[8-p.left]
		p.left--
	}
	return len(b), nil
}
