package checks

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/mail"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// maxMails is how many mails may wait. A director that turns MASTER of every instance
// writes several hundred at once; a relay that never answers must not gather more.
const maxMails = 1024

// Relay is where mails are handed in, and what stands in all of them. Fields that are
// empty become what this host is called, as keepalived has it.
type Relay struct {
	Host    string        // an address, or a name that is looked up for each mail
	Port    uint16        // 25 by custom
	Helo    string        // said in the greeting; the host name
	Label   string        // in front of every subject, in brackets; the host name
	From    string        // "lb@example.org" or "LB <lb@example.org>"; USER@HOST
	To      []string      // recipients, written like From
	Timeout time.Duration // for the connection, and for each answer after it
}

// dialogueTimeouts is how many timeouts the whole dialogue may last: a relay that answers
// each command just in time would hold up the mails behind.
const dialogueTimeouts = 4

// Mail is one message. Both parts are a line; the body is put between arrows.
type Mail struct{ Subject, Body string }

// Mailer sends mails in the order in which they come, one after another, off the caller's
// goroutine. A mail that the relay does not take in time is reported and lost, as in
// keepalived. Without mails there is no goroutine.
type Mailer struct {
	relay  Relay
	report func(Mail, error)
	ctx    context.Context // ends the dialogue that runs
	cancel context.CancelFunc
	busy   sync.WaitGroup // one for the goroutine that sends

	mu      sync.Mutex
	waiting []dated
	dropped int // by a full queue, not yet reported
	running bool
	closed  bool
}

// dated is a mail with the moment of what it tells.
type dated struct {
	Mail
	at time.Time
}

// NewMailer makes a mailer that tells report how each mail ended, from its own goroutine,
// one call at a time.
func NewMailer(r Relay, report func(Mail, error)) *Mailer {
	ctx, cancel := context.WithCancel(context.Background())
	return &Mailer{relay: r, report: report, ctx: ctx, cancel: cancel}
}

// Send puts m behind the mails that wait, and returns at once. When too many wait, the
// oldest of them is dropped. After Close it does nothing.
func (m *Mailer) Send(one Mail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	if len(m.waiting) == maxMails {
		m.waiting = m.waiting[1:]
		m.dropped++
	}
	m.waiting = append(m.waiting, dated{one, time.Now()})
	if !m.running {
		m.running = true
		m.busy.Add(1)
		go m.run()
	}
}

// run works the queue off, and ends with it.
func (m *Mailer) run() {
	defer m.busy.Done()
	for {
		one, dropped, ok := m.next()
		if dropped > 0 {
			m.report(Mail{}, fmt.Errorf("%w: %d mails, too many waiting", ErrDropped, dropped))
		}
		if !ok {
			return
		}
		err := m.ctx.Err()
		if err == nil {
			err = m.relay.named(m.ctx).send(m.ctx, one)
		}
		m.report(one.Mail, err)
	}
}

func (m *Mailer) next() (one dated, dropped int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dropped, m.dropped = m.dropped, 0
	if len(m.waiting) == 0 {
		m.running = false
		return one, dropped, false
	}
	one, m.waiting = m.waiting[0], m.waiting[1:]
	return one, dropped, true
}

// Close takes no more mails and waits until all are sent. When ctx ends first, the dialogue
// is broken off, what waits is reported as lost, and Close returns the error of ctx.
func (m *Mailer) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	defer m.cancel()
	stop := context.AfterFunc(ctx, m.cancel)
	defer stop()
	m.busy.Wait() // bounded: cancel ends a dialogue at once
	if m.ctx.Err() != nil {
		return fmt.Errorf("mails were not all sent: %w", ctx.Err())
	}
	return nil
}

// named fills in what this host is called, where nothing is written.
func (r Relay) named(ctx context.Context) Relay {
	if r.Helo != "" && r.Label != "" && r.From != "" {
		return r
	}
	host := hostName(ctx)
	if r.Helo == "" {
		r.Helo = host
	}
	if r.Label == "" {
		r.Label = host
	}
	if r.From == "" {
		account := "keepalived"
		if u, err := user.Current(); err == nil {
			account = u.Username
		}
		r.From = account + "@" + host
	}
	return r
}

// hostName is the canonical name of this host, or the plain one if that is not found soon.
func hostName(ctx context.Context) string {
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if full, err := net.DefaultResolver.LookupCNAME(ctx, host); err == nil && full != "" {
		return strings.TrimSuffix(full, ".")
	}
	return host
}

// send has one dialogue with the relay.
func (r Relay) send(ctx context.Context, one dated) error {
	end := time.Now().Add(dialogueTimeouts * r.Timeout)
	dialer := net.Dialer{Timeout: r.Timeout}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	t := talk{conn: conn, end: end, timeout: r.Timeout}
	t.step("greeting", func() (err error) { t.client, err = smtp.NewClient(conn, r.Host); return err })
	t.step("HELO", func() error { return t.client.Hello(r.Helo) })
	t.step("MAIL FROM", func() error {
		t.client.SkipSMTPUTF8(true)
		return t.client.Mail("<" + mailbox(r.From) + ">")
	})
	for _, to := range r.To {
		t.step("RCPT TO", func() error { return t.client.Rcpt("<" + mailbox(to) + ">") })
	}
	t.step("DATA", func() error { return t.data(r.message(one)) })
	if t.err != nil {
		return t.err
	}
	t.step("QUIT", func() error { return t.client.Quit() })
	return nil // the relay has taken it, whatever it says to QUIT
}

// talk is a dialogue whose first error ends it.
type talk struct {
	conn    net.Conn
	client  *smtp.Client
	end     time.Time
	timeout time.Duration
	err     error
}

// step does one command, within the time of an answer and of the whole dialogue.
func (t *talk) step(name string, do func() error) {
	if t.err != nil {
		return
	}
	deadline := time.Now().Add(t.timeout)
	if deadline.After(t.end) {
		deadline = t.end
	}
	if t.err = t.conn.SetDeadline(deadline); t.err != nil {
		return
	}
	if err := do(); errors.Is(err, os.ErrDeadlineExceeded) {
		t.err = fmt.Errorf("%s: no answer in time", name)
	} else if err != nil {
		t.err = fmt.Errorf("%s: %w", name, err)
	}
}

func (t *talk) data(text string) error {
	w, err := t.client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.Close()
}

// message is the text of a mail, line for line as keepalived writes it.
func (r Relay) message(one dated) string {
	to := make([]string, len(r.To))
	for i, a := range r.To {
		to[i] = addressed(a)
	}
	subject := mime.QEncoding.Encode("utf-8", line("["+r.Label+"] "+one.Subject))
	return "Date: " + one.at.Format(time.RFC1123Z) + "\r\nFrom: " + addressed(r.From) +
		"\r\nSubject: " + subject + "\r\nX-Mailer: Keepalived\r\nTo: " + strings.Join(to, ", ") +
		"\r\n\r\n=> " + line(one.Body) + " <=\r\n\r\n"
}

// line is s without what would begin another header.
func line(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// addressed is an address for a header: as written, unless it needs an encoding.
func addressed(s string) string {
	s = line(s)
	if strings.ContainsFunc(s, func(c rune) bool { return c >= 0x80 }) {
		if a, err := mail.ParseAddress(s); err == nil {
			return a.String()
		}
	}
	return s
}

// mailbox is the address for the envelope: what stands in <>, or everything.
func mailbox(s string) string {
	if i := strings.LastIndexByte(s, '<'); i >= 0 {
		s, _, _ = strings.Cut(s[i+1:], ">")
	}
	return strings.TrimSpace(s)
}
