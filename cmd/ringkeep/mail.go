package main

import (
	"context"
	"log/slog"
	"reflect"
	"time"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// mailGrace is how long the mails about the end may still take.
const mailGrace = time.Second

// mailbox is where mails are put: that of the running configuration. It belongs to the
// loop's thread.
type mailbox struct {
	log    *slog.Logger
	relay  checks.Relay
	mailer *checks.Mailer // nil where there is no relay or no recipient
}

// follow goes over to the relay of the configuration. What was put in before is still sent
// as it was meant.
func (m *mailbox) follow(g *config.Global) {
	relay := checks.Relay{
		Host: g.SMTPServer.Host, Port: g.SMTPServer.Port, Helo: g.SMTPHeloName, Label: g.RouterID,
		From: g.NotificationEmailFrom, To: g.NotificationEmail, Timeout: g.SMTPConnectTimeout,
	}
	if reflect.DeepEqual(relay, m.relay) {
		return
	}
	if old := m.mailer; old != nil {
		go finish(old)
	}
	m.relay, m.mailer = relay, nil
	if relay.Host != "" && len(relay.To) > 0 {
		m.mailer = checks.NewMailer(relay, m.sent)
	}
}

func (m *mailbox) sent(one checks.Mail, err error) {
	if err != nil {
		m.log.Warn("mail not sent", "subject", one.Subject, "reason", err)
		return
	}
	m.log.Debug("mail sent", "subject", one.Subject)
}

func (m *mailbox) send(one checks.Mail) {
	if m.mailer != nil {
		m.mailer.Send(one)
	}
}

func (m *mailbox) close() {
	if m.mailer != nil {
		finish(m.mailer)
	}
}

// finish empties a queue, as far as that goes within the time; what it could not send is
// reported.
func finish(m *checks.Mailer) {
	grace, cancel := context.WithTimeout(context.Background(), mailGrace)
	defer cancel()
	m.Close(grace)
}
