package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/checks/smtptest"
)

// posted collects what a mailer reports.
type posted struct {
	mu   sync.Mutex
	subs []string
	errs []error
}

func (p *posted) add(m Mail, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs, p.errs = append(p.subs, m.Subject), append(p.errs, err)
}

func (p *posted) all() ([]string, []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.subs), slices.Clone(p.errs)
}

func relay(t *testing.T, answers map[string]string) (*smtptest.Relay, Relay) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtptest.Start(l, answers)
	t.Cleanup(s.Close)
	return s, Relay{
		Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Helo: "lb1.example.org", Label: "LB1",
		From: "LB <lb@example.org>", To: []string{"root@example.org", "Jo Bloggs <jo@example.org>"}, Timeout: 5 * time.Second,
	}
}

// Reference 4.5: the headers and the body, line for line.
func TestMailAsKeepalivedWritesIt(t *testing.T) {
	s, r := relay(t, nil)
	var p posted
	m := NewMailer(r, p.add)
	m.Send(Mail{"VRRP Instance VI_1 - Entering MASTER state", "VRRP Instance is now owning VRRP VIPs"})
	if err := m.Close(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, errs := p.all(); len(errs) != 1 || errs[0] != nil {
		t.Fatalf("reports %v", errs)
	}
	got := s.Mails()
	if len(got) != 1 {
		t.Fatalf("%d mails", len(got))
	}
	date, rest, _ := strings.Cut(got[0].Text, "\r\n")
	if at, err := time.Parse("Date: Mon, 02 Jan 2006 15:04:05 -0700", date); err != nil || time.Since(at) > time.Minute {
		t.Errorf("%s: %v", date, err)
	}
	want := "From: LB <lb@example.org>\r\nSubject: [LB1] VRRP Instance VI_1 - Entering MASTER state\r\nX-Mailer: Keepalived\r\n" +
		"To: root@example.org, Jo Bloggs <jo@example.org>\r\n\r\n=> VRRP Instance is now owning VRRP VIPs <=\r\n\r\n"
	if rest != want {
		t.Errorf("got\n%s\nwant\n%s", rest, want)
	}
	// 2.2.7 writes the whole text of an address into the envelope, newer ones what is in <>.
	envelope := fmt.Sprint(got[0].Helo, " ", got[0].From, " ", got[0].To)
	if envelope != "lb1.example.org FROM:<lb@example.org> [TO:<root@example.org> TO:<jo@example.org>]" {
		t.Errorf("envelope %s", envelope)
	}
}

// A relay that knows extensions is told of 8-bit text, and of nothing else.
func TestMailToAModernRelay(t *testing.T) {
	s, r := relay(t, map[string]string{"EHLO": "250-relay\r\n250-STARTTLS\r\n250-SMTPUTF8\r\n250 8BITMIME"})
	m := NewMailer(r, func(_ Mail, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	m.Send(Mail{"s", "b"})
	m.Close(within(t, 10*time.Second))
	if got := s.Mails(); len(got) != 1 || got[0].Helo != "lb1.example.org" || got[0].From != "FROM:<lb@example.org> BODY=8BITMIME" {
		t.Errorf("got %+v", got)
	}
}

// What a name holds beyond ASCII is encoded, and cannot begin a header of its own.
func TestMailHeadersStayHeaders(t *testing.T) {
	s, r := relay(t, nil)
	r.Label, r.To = "Zürich\r\nBcc: x@y", []string{"Jürg <j@example.org>"}
	m := NewMailer(r, func(Mail, error) {})
	m.Send(Mail{"s", "a\r\n.\r\nQUIT"})
	m.Close(within(t, 10*time.Second))
	if len(s.Mails()) != 1 {
		t.Fatal("not taken")
	}
	text := s.Mails()[0].Text
	for _, want := range []string{"\r\nSubject: =?utf-8?q?[Z=C3=BCrich__Bcc:_x@y]_s?=\r\n", "\r\nTo: =?utf-8?q?J=C3=BCrg?= <j@example.org>\r\n", "=> a  .  QUIT <="} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}

// Without words of its own a director is called after its host.
func TestMailDefaultNames(t *testing.T) {
	r := Relay{}.named(t.Context())
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(r.Helo, host) || r.Label != r.Helo || !strings.HasSuffix(r.From, "@"+r.Helo) || len(r.From) == len("@"+r.Helo) {
		t.Errorf("%+v, the host is %s", r, host)
	}
	if r := (Relay{Helo: "h", Label: "l", From: "f"}).named(t.Context()); r.Helo != "h" || r.Label != "l" || r.From != "f" {
		t.Errorf("%+v", r)
	}
}

// Whatever the relay does, Send returns at once, the mail is reported with the reason,
// and the next one is tried.
func TestMailRelayFails(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		answers    map[string]string
	}{
		{"greets with an error", `greeting: 554 "no"`, map[string]string{"GREETING": "554 no"}},
		{"never greets", "greeting: no answer in time", map[string]string{"GREETING": smtptest.Silence}},
		{"wants another name", "HELO: ", map[string]string{"HELO": "550 who"}},
		{"refuses the sender", `MAIL FROM: 550 "spam"`, map[string]string{"MAIL": "550 spam"}},
		{"refuses a recipient", `RCPT TO: 550 "nobody"`, map[string]string{"RCPT": "550 nobody"}},
		{"takes no text", `DATA: 451 "later"`, map[string]string{"DATA": "451 later"}},
		{"does not take the text", `DATA: 552 "long"`, map[string]string{".": "552 long"}},
		{"never takes the text", "DATA: no answer in time", map[string]string{".": smtptest.Silence}},
		{"never says good-bye", "", map[string]string{"QUIT": smtptest.Silence}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, r := relay(t, tt.answers)
			r.Timeout = time.Second
			var p posted
			m := NewMailer(r, p.add)
			m.Send(Mail{"1", ""})
			m.Send(Mail{"2", ""})
			if err := m.Close(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}
			subs, errs := p.all()
			if fmt.Sprint(subs) != "[1 2]" {
				t.Fatalf("reports of %v", subs)
			}
			for _, err := range errs {
				if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %s", got)
				}
			}
		})
	}
}

func TestMailNoRelay(t *testing.T) {
	s, r := relay(t, nil)
	s.Close()
	var p posted
	m := NewMailer(r, p.add)
	m.Send(Mail{"1", ""})
	m.Close(within(t, 10*time.Second))
	if _, errs := p.all(); len(errs) != 1 || !strings.Contains(fmt.Sprint(errs[0]), "connection refused") {
		t.Errorf("reports %v", errs)
	}
}

// A relay that answers every command just in time ends at the bound of the whole dialogue.
func TestMailDialogueIsBounded(t *testing.T) {
	server, client := net.Pipe()
	defer server.Close()
	tk := talk{conn: client, timeout: time.Hour, end: time.Now().Add(20 * time.Millisecond)}
	tk.step("HELO", func() error { _, err := client.Read(make([]byte, 1)); return err })
	if got := fmt.Sprint(tk.err); got != "HELO: no answer in time" {
		t.Errorf("got %s", got)
	}
	tk.step("MAIL", func() error { t.Error("a step after the end"); return nil })
}

// Mails wait in order, no more than the bound, and no goroutine is left when all is done.
func TestMailQueue(t *testing.T) {
	before := runtime.NumGoroutine()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtptest.Start(l, nil)
	r := Relay{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Helo: "h", Label: "l", From: "f", To: []string{"t"}, Timeout: 20 * time.Second}
	held, release := make(chan bool), make(chan bool)
	first := true
	var p posted
	m := NewMailer(r, func(one Mail, err error) {
		if first {
			first = false
			held <- true
			<-release
		}
		p.add(one, err)
	})
	m.Send(Mail{"0", ""})
	<-held
	for i := range maxMails + 3 {
		m.Send(Mail{fmt.Sprint(i + 1), ""})
	}
	m.mu.Lock()
	m.waiting = m.waiting[:2:2] // enough to see the order
	m.mu.Unlock()
	release <- true
	if err := m.Close(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	m.Send(Mail{"late", ""})
	subs, errs := p.all()
	if fmt.Sprintf("%q", subs) != `["0" "" "4" "5"]` || !errors.Is(errs[1], ErrDropped) || !strings.Contains(errs[1].Error(), "3 mails") {
		t.Errorf("reports %q %v", subs, errs)
	}
	s.Close()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// At the end a relay that never answers is not waited for.
func TestMailCloseBreaksOff(t *testing.T) {
	_, r := relay(t, map[string]string{"GREETING": smtptest.Silence})
	r.Timeout = time.Hour
	var p posted
	m := NewMailer(r, p.add)
	m.Send(Mail{"1", ""})
	m.Send(Mail{"2", ""})
	start := time.Now()
	if err := m.Close(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closed with %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %s", took)
	}
	if subs, errs := p.all(); len(errs) != 2 || errs[0] == nil || errs[1] == nil {
		t.Errorf("reports %v %v", subs, errs)
	}
}
