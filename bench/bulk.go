package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// bulk sends one TCP stream to the service, and counts what the server has of it.
func (r *run) bulk(c Case) (int, Values, error) {
	s, _, end, err := r.listening(c)
	if err != nil {
		return 0, nil, err
	}
	defer end()
	l, err := s.listener()
	if err != nil {
		return 0, nil, err
	}
	defer l.Close()
	var got atomic.Int64
	served := make(chan error, 1)
	go func() { served <- swallow(l, &got) }()
	var conn net.Conn
	err = s.gen.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp4", netip.AddrPortFrom(vip, servicePort).String(), 3*time.Second)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	sent := make(chan error, 1)
	d := 3 * r.time
	go func() { sent <- push(conn, d*5/4) }()
	time.Sleep(d / 4) // the stream gets up to speed
	from, at := got.Load(), time.Now()
	time.Sleep(d)
	rate := float64(got.Load()-from) / time.Since(at).Seconds()
	if err := errors.Join(<-sent, conn.Close(), <-served); err != nil {
		return 0, nil, err
	}
	return 1, Values{Bytes: rate}, nil
}

func (s *stage) listener() (l net.Listener, err error) {
	err = s.sink.Do(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", servicePort))
		return err
	})
	return l, err
}

// swallow counts the bytes of one connection.
func swallow(l net.Listener, got *atomic.Int64) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	for b := make([]byte, 256<<10); ; {
		n, err := conn.Read(b)
		got.Add(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// push writes for a time.
func push(conn net.Conn, d time.Duration) error {
	if err := conn.SetWriteDeadline(time.Now().Add(d + 5*time.Second)); err != nil {
		return err
	}
	b := make([]byte, 256<<10)
	for start := time.Now(); time.Since(start) < d; {
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}
