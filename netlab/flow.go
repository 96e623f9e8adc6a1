package netlab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/netlab/report"
)

// flow is traffic of a client that runs beside the statements.
type flow struct {
	name   string
	client *host
	to     string
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	began    time.Time
	ended    time.Time      // zero while it runs
	gaps     []report.Gap   // since it began
	served   map[string]int // host to connections
	failures int
	failure  error // the first one
	complete bool  // every byte was moved
	took     time.Duration
	last     time.Time
	gap      time.Duration // longest between two answers, since mark
	late     time.Duration // latest that a question was asked, since mark
	marked   time.Time
	answers  int

	told  bool       // answers come from a process, some time after they were received:
	until time.Time  // those received until then have come
	news  *sync.Cond // more of them
}

func (l *lab) newFlow(name string, client *host, to string) (*flow, context.Context) {
	ctx, cancel := context.WithCancel(l.ctx)
	f := &flow{name: name, began: time.Now(), client: client, to: to, cancel: cancel, done: make(chan struct{}), served: map[string]int{}}
	f.news = sync.NewCond(&f.mu)
	context.AfterFunc(ctx, f.end)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows[name] = f
	return f, ctx
}

func (f *flow) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = time.Now()
}

// clientTimeout bounds one short connection.
const clientTimeout = 3 * time.Second

// dial connects from the thread it runs on, from a port that the kernel chooses for 0;
// the connection ends after clientTimeout.
func dial(ctx context.Context, to string, port int) (net.Conn, error) {
	d := net.Dialer{Timeout: clientTimeout, LocalAddr: &net.TCPAddr{Port: port}}
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(clientTimeout))
}

// ask opens one connection from the thread it runs on, sends a line and returns the
// answer.
func ask(ctx context.Context, to, line string, port int) (string, error) {
	c, err := dial(ctx, to, port)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// askHTTP fetches a page, on a connection of its own.
func askHTTP(ctx context.Context, to string) (string, error) {
	c, err := dial(ctx, to, 0)
	if err != nil {
		return "", err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", to)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(body)), err
}

// askUDP sends one datagram and waits for its answer.
func askUDP(to string) (string, error) {
	c, err := net.Dial("udp", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(clientTimeout))
	fmt.Fprint(c, "?")
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	name, _, _ := strings.Cut(string(buf[:n]), " ")
	return name, err
}

// workers share the rate of a connect flow.
const workers = 4

// connect opens rate short connections a second until it is stopped.
func (f *flow) connect(ctx context.Context, rate int, port func() int) {
	tokens := make(chan struct{}, rate)
	go func() {
		const tick = 10 * time.Millisecond
		t := time.NewTicker(tick)
		defer t.Stop()
		start, given := time.Now(), 0
		for {
			select {
			case <-ctx.Done():
				close(tokens)
				return
			case now := <-t.C:
				for due := int(now.Sub(start).Seconds() * float64(rate)); given < due; given++ {
					select {
					case tokens <- struct{}{}:
					default: // the workers wait for a dead director: do not pile up
					}
				}
			}
		}
	}()
	var wg sync.WaitGroup
	for range workers {
		wg.Add(1)
		f.client.spawn(func() {
			defer wg.Done()
			for range tokens {
				f.result(ask(context.Background(), f.to, "NAME", port()))
			}
		})
	}
	wg.Wait()
	close(f.done)
}

// The ports of connect flows, below those that the kernel gives to others. Each
// connection takes the next: a director keeps the server of a connection that ends for
// two minutes, and a port that came again within them would go there, scheduled by
// nobody (the kernel starts anew after some 3,000 connections).
const (
	firstPort = 10_000
	endPort   = 32_000
)

func (l *lab) port() int {
	return firstPort + int(l.opened.Add(1)-1)%(endPort-firstPort)
}

func (f *flow) result(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.failures++
		if f.failure == nil {
			f.failure = err
		}
		return
	}
	f.served[name]++
}

// transfer moves bytes of the pattern in one connection; who gets them compares every one.
func (f *flow) transfer(ctx context.Context, size int64, move func(ctx context.Context, to string, size int64) error) {
	defer close(f.done)
	f.client.spawn(func() {
		start := time.Now()
		err := move(ctx, f.to, size)
		f.mu.Lock()
		f.failure, f.complete, f.took = err, err == nil, time.Since(start)
		f.mu.Unlock()
		f.cancel()
	})
	<-ctx.Done()
}

func fetch(ctx context.Context, to string, size int64) error {
	c, err := dial(ctx, to, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %d\n", size)
	return same(patient{c}, size)
}

// patient waits so long for each part of what is sent.
type patient struct{ net.Conn }

const patience = 20 * time.Second

func (p patient) Read(b []byte) (int, error) {
	p.SetReadDeadline(time.Now().Add(patience))
	return p.Conn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	p.SetWriteDeadline(time.Now().Add(patience))
	return p.Conn.Write(b)
}

func store(ctx context.Context, to string, size int64) error {
	dialled, err := dial(ctx, to, 0)
	if err != nil {
		return err
	}
	c := patient{dialled}
	defer c.Close()
	if _, err := io.Copy(c, io.MultiReader(strings.NewReader(fmt.Sprintf("PUT %d\n", size)), io.LimitReader(&pattern{}, size))); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && answer != "OK\n" {
		err = fmt.Errorf("the server got %s", strings.TrimSpace(answer))
	}
	return err
}

// same reads size bytes and tells whether they are those of the pattern.
func same(r io.Reader, size int64) error {
	got, want := make([]byte, 1<<16), make([]byte, 1<<16)
	p := &pattern{}
	for at := int64(0); at < size; {
		n, err := r.Read(got[:min(int64(len(got)), size-at)])
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", at, size, err)
		}
		io.ReadFull(p, want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("the bytes from %d to %d are not those that were sent", at, at+int64(n))
		}
		at += int64(n)
	}
	return nil
}

// probe asks once a millisecond and notes when answers come.
func (f *flow) probe(ctx context.Context, kind string) {
	defer close(f.done)
	ready := make(chan struct{})
	f.client.spawn(func() {
		defer close(ready)
		if kind == "udp" {
			f.probeUDP(ctx)
			return
		}
		for ctx.Err() == nil {
			c, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			if _, err := askHTTP(c, f.to); err == nil {
				f.answered(time.Now())
			}
			cancel()
			f.next(ctx)
		}
	})
	<-ready
}

func (f *flow) probeUDP(ctx context.Context) {
	c, err := net.Dial("udp", f.to)
	if err != nil {
		return
	}
	defer c.Close()
	go func() {
		buf := make([]byte, 256)
		for ctx.Err() == nil {
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := c.Read(buf); err == nil {
				f.answered(time.Now())
			}
		}
	}()
	for i := 0; ctx.Err() == nil; i++ {
		c.Write([]byte(strconv.Itoa(i))) // refused or unreachable: the gap tells
		f.next(ctx)
	}
}

// next waits until the next question, and notes how late it comes.
func (f *flow) next(ctx context.Context) {
	const every = time.Millisecond
	asked := time.Now()
	pause(ctx, every)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = max(f.late, time.Since(asked)-every)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// answered notes an answer that was received at a time.
func (f *flow) answered(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers++
	if at.Before(f.last) { // the two came by two processors, almost together
		return
	}
	if !f.last.IsZero() {
		if at.After(f.marked) {
			f.gap = max(f.gap, at.Sub(f.last))
		}
		f.gaps = AddGap(f.gaps, f.last.Sub(f.began), at.Sub(f.began), time.Millisecond)
	}
	f.last = at
}

// threads of the lab are on the way of an answer: who asks, the wire and the server.
const threads = 3

// longest is the longest time without an answer since mark, the present one included, and
// how late these threads may have been, by what the first of them was.
func (f *flow) longest() (gap, late time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for f.told && f.until.Before(now) {
		f.news.Wait()
	}
	if f.last.IsZero() {
		return f.gap, threads * f.late
	}
	return max(f.gap, now.Sub(f.last)), threads * f.late
}

func (f *flow) mark() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gap, f.late, f.marked = 0, 0, time.Now()
}

// summary is one line for the end.
func (f *flow) summary() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answers > 0 {
		return fmt.Sprintf("%d answers", f.answers)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f.served)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, f.served[name]))
	}
	if f.complete {
		parts = append(parts, fmt.Sprintf("complete in %v", f.took.Round(time.Millisecond)))
	}
	if f.failures > 0 {
		parts = append(parts, fmt.Sprintf("%d failed (first: %v)", f.failures, f.failure))
	}
	return strings.Join(parts, ", ")
}

// report is the flow for the record, as it is at a time of the lab.
func (f *flow) report(l *lab, to time.Duration) report.Flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.began.Sub(l.wire.started)
	if !f.ended.IsZero() {
		to = min(to, f.ended.Sub(l.wire.started))
	}
	r := report.Flow{
		Name: f.name, Host: f.client.name, Text: "to " + f.to, From: from, To: to, Answered: f.answers, Failed: f.failures,
	}
	for _, n := range f.served {
		r.Answered += n
	}
	for _, g := range f.gaps {
		r.Gaps = append(r.Gaps, report.Gap{From: from + g.From, To: from + g.To})
	}
	if !f.last.IsZero() { // nor has it been answered since
		r.Gaps = AddGap(r.Gaps, f.last.Sub(l.wire.started), to, time.Millisecond)
	}
	return r
}
