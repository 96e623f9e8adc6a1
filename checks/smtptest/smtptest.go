// Package smtptest is a mail relay for tests: it keeps what it is handed, and answers as
// the test wants.
package smtptest

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"sync"
)

// Mail is one dialogue that ended, as it went over the wire.
type Mail struct {
	Helo, From string   // what follows the verb
	To         []string // in order
	Text       string   // headers and body, with CRLF, without the last dot
}

// Relay takes mails.
type Relay struct {
	listener net.Listener
	answers  map[string]string
	busy     sync.WaitGroup

	mu    sync.Mutex
	mails []Mail
	open  map[net.Conn]bool
}

// Silence is an answer that never comes.
const Silence = "silence"

// Start makes a relay at a listener. answers replaces what it says to a verb (GREETING,
// EHLO, HELO, MAIL, RCPT, DATA, QUIT, and . for the end of the text); it does not know
// EHLO, unless that is in answers.
func Start(l net.Listener, answers map[string]string) *Relay {
	r := &Relay{listener: l, answers: answers, open: map[net.Conn]bool{}}
	r.busy.Go(r.accept)
	return r
}

func (r *Relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.open[c] = true
		r.mu.Unlock()
		r.busy.Go(func() { r.talk(c) })
	}
}

// Mails is what was taken so far, in the order of the ends.
func (r *Relay) Mails() []Mail {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.mails)
}

// Close ends all dialogues and waits for them.
func (r *Relay) Close() {
	r.listener.Close()
	r.mu.Lock()
	for c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.busy.Wait()
}

var usual = map[string]string{
	"GREETING": "220 relay", "EHLO": "502 unknown", "HELO": "250 relay", "MAIL": "250 ok", "RCPT": "250 ok",
	"DATA": "354 go on", ".": "250 taken", "QUIT": "221 bye",
}

func (r *Relay) answer(c net.Conn, verb string) {
	text, ok := r.answers[verb]
	if !ok {
		text, ok = usual[verb]
	}
	if !ok {
		text = "500 unknown"
	}
	if text != Silence {
		c.Write([]byte(text + "\r\n"))
	}
}

func (r *Relay) talk(c net.Conn) {
	defer func() {
		c.Close()
		r.mu.Lock()
		delete(r.open, c)
		r.mu.Unlock()
	}()
	r.answer(c, "GREETING")
	in := bufio.NewReader(c)
	var m Mail
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO", "HELO":
			m.Helo = rest
		case "MAIL":
			m.From = rest
		case "RCPT":
			m.To = append(m.To, rest)
		}
		r.answer(c, verb)
		if verb == "DATA" {
			if m.Text, err = text(in); err != nil {
				return
			}
			r.mu.Lock()
			r.mails = append(r.mails, m)
			r.mu.Unlock()
			m = Mail{Helo: m.Helo}
			r.answer(c, ".")
		}
	}
}

func text(in *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return b.String(), err
		}
		b.WriteString(line)
	}
}
