package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// mailGrace is how long the mails about the end may still take.
const mailGrace = time.Second

// openMail makes the mailer of the configuration, and the function that empties its queue
// at the end. Both do nothing where there is no relay or no recipient.
func openMail(g *config.Global, log *slog.Logger) (send func(checks.Mail), end func()) {
	if g.SMTPServer.Host == "" || len(g.NotificationEmail) == 0 {
		return nil, func() {}
	}
	m := checks.NewMailer(checks.Relay{
		Host: g.SMTPServer.Host, Port: g.SMTPServer.Port, Helo: g.SMTPHeloName, Label: g.RouterID,
		From: g.NotificationEmailFrom, To: g.NotificationEmail, Timeout: g.SMTPConnectTimeout,
	}, func(one checks.Mail, err error) {
		if err != nil {
			log.Warn("mail not sent", "subject", one.Subject, "reason", err)
			return
		}
		log.Debug("mail sent", "subject", one.Subject)
	})
	return m.Send, func() {
		grace, cancel := context.WithTimeout(context.Background(), mailGrace)
		defer cancel()
		m.Close(grace) // what it could not send was reported
	}
}
