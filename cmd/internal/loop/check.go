package loop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// probe makes one try of a check; of a web server, by its request number url.
type probe func(ctx context.Context, url int) node.CheckDone

// check runs one try in a goroutine of its own, which costs no thread while it waits; a
// script costs its process and a thread. What is compiled or loaded for a check is so once,
// in its first try: none of that holds up the loop.
func (l *Loop) check(a node.RunCheck) {
	run := l.running
	prepared := run.probes[a.Check]
	if prepared == nil {
		c := l.Node.Check(a.Check)
		prepared = sync.OnceValue(func() probe { return run.probe(c) })
		run.probes[a.Check] = prepared
	}
	l.turns.do(func() {
		done := prepared()(run.ctx, a.URL)
		done.Check = a.Check
		l.postLater(posted{ev: done, gen: &run})
	})
}

// probe prepares a check.
func (g generation) probe(c *config.Check) probe {
	target := checks.Target{Addr: c.Connect, Timeout: c.ConnectTimeout, Bind: c.Bind, Device: c.BindInterface, Mark: int(c.Fwmark)}
	switch c.Kind {
	case "TCP_CHECK":
		return asked(func(ctx context.Context) error { return checks.TCP(ctx, target) })
	case "HTTP_GET", "SSL_GET":
		return g.web(c, target)
	case "SMTP_CHECK":
		return asked(func(ctx context.Context) error {
			return checks.SMTP(ctx, checks.SMTPCheck{Target: target, Helo: c.HeloName})
		})
	case "DNS_CHECK":
		return asked(func(ctx context.Context) error {
			return checks.DNS(ctx, checks.DNSCheck{Target: target, Type: string(c.DNSType), Name: string(c.DNSName)})
		})
	case "UDP_CHECK":
		udp := checks.UDPCheck{
			Target: target, Payload: c.Payload, Required: c.RequireReply.On, Reply: c.RequireReply.Bytes, Mask: c.RequireReply.Mask,
			MinLength: c.MinReplyLength, MaxLength: c.MaxReplyLength,
		}
		return asked(func(ctx context.Context) error { return checks.UDP(ctx, udp) })
	case "PING_CHECK":
		return asked(func(ctx context.Context) error { return checks.Ping(ctx, target) })
	case "MISC_CHECK":
		script := checks.Script{Args: c.MiscPath.Args, User: c.User, Group: c.GroupWord(), Timeout: c.MiscTimeout}
		return func(ctx context.Context, _ int) node.CheckDone {
			exit := script.Run(ctx)
			return node.CheckDone{OK: exit.Err == nil && exit.Status == 0, Exit: exit.Status, Local: ctx.Err() != nil, Reason: exit.String()}
		}
	}
	panic("loop: no such check: " + c.Kind)
}

// asked makes a probe of a check that is good or has a reason.
func asked(ask func(context.Context) error) probe {
	return func(ctx context.Context, _ int) node.CheckDone { return result(ask(ctx)) }
}

func result(err error) node.CheckDone {
	if err == nil {
		return node.CheckDone{OK: true}
	}
	return node.CheckDone{Local: errors.Is(err, checks.ErrLocal), Reason: err.Error()}
}

// web prepares the requests of HTTP_GET and SSL_GET. An expression that is not understood
// is said, and the answer judged without it, as keepalived does.
func (g generation) web(c *config.Check, target checks.Target) probe {
	var list []checks.HTTPCheck
	for _, u := range c.URLs {
		h := checks.HTTPCheck{
			Target: target, Protocol: c.HTTPProtocol, Path: u.Path, Host: u.Virtualhost,
			Status: u.StatusCodes, Digests: u.Digests, CloseNotify: u.TLSCompliant,
		}
		if u.Regex != "" {
			var err error
			h.Regex, err = checks.NewRegex(u.Regex, checks.RegexOptions{
				Words: u.RegexOptions, NoMatch: u.RegexNoMatch, MinOffset: u.RegexMinOffset, MaxOffset: u.RegexMaxOffset,
			})
			if err != nil {
				g.loop.Log.Error("regex not understood: this part of the answer is not judged", "at", u.At("regex").String(), "err", err)
			}
		}
		if c.Kind == "SSL_GET" {
			h.TLS = checks.TLSClient(u.SNI, g.certificate())
		}
		list = append(list, h)
	}
	told := make([]string, len(list)) // of each request: once is enough
	return func(ctx context.Context, url int) node.CheckDone {
		answer, err := checks.HTTP(ctx, list[url])
		if odd := answer.Remark(); odd != told[url] {
			if told[url] = odd; odd != "" {
				g.loop.Log.Warn("Content-Length is wrong, which decides nothing", "rs", c.Connect, "check", c.URLs[url].Pos.String(), "reason", odd)
			}
		}
		return result(err)
	}
}

// certificate loads what SSL_GET shows to servers, once; nil for none. One that cannot be
// loaded is said, and none is shown.
func (l *Loop) certificate(ssl *config.SSL) func() *tls.Certificate {
	return sync.OnceValue(func() *tls.Certificate {
		if ssl == nil {
			return nil
		}
		cert, err := checks.LoadCertificate(ssl.Certificate, ssl.Key, ssl.Password)
		if err != nil {
			l.Log.Error("SSL: SSL_GET shows no certificate", "err", err)
		}
		return cert
	})
}

// reportCheck says in keepalived's words how a check turned.
func (l *Loop) reportCheck(a node.CheckChanged) {
	server := a.Name
	kind := strings.Replace(a.Check.Kind, "_GET", "_CHECK", 1)
	words := kind + " on service " + server + " failed"
	switch {
	case a.Up && a.Check.Kind == "TCP_CHECK":
		words = "TCP connection to " + server + " success."
	case a.Up && a.Check.Kind == "UDP_CHECK":
		words = "UDP connection to " + server + " success."
	case a.Up && a.Check.Kind == "PING_CHECK":
		words = "ICMP connection to " + server + " success."
	case a.Up && a.Check.URLs != nil:
		words = "Remote Web server " + server + " succeed on service."
	case a.Up && a.Check.Kind == "SMTP_CHECK":
		words = "Remote SMTP server " + server + " succeed on service."
	case a.Check.Kind == "BFD_CHECK":
		words = fmt.Sprintf("BFD check of [%s] RS(%s) is %s", a.Check.BFD, server, upDown[a.Up])
	case a.Up:
		words = kind + " on service " + server + " succeeded."
	case a.Retries > 0:
		words += fmt.Sprintf(" after %d retries.", a.Retries)
	default:
		words += "."
	}
	attrs := []any{"vs", a.Service, "rs", a.Server, "check", a.Check.Pos.String()}
	if !a.Up {
		attrs = append(attrs, "reason", a.Reason)
	}
	l.Log.Info(words, attrs...)
}

// suspendWord is keepalived's for what becomes of a check by ha_suspend.
func suspendWord(a node.CheckSuspended) string {
	switch {
	case a.Suspended && a.Begins:
		return "Deactivating"
	case a.Suspended:
		return "Suspending"
	}
	return "Activating"
}

var upDown = map[bool]string{true: "UP", false: "DOWN"}

func active(up bool) string {
	if up {
		return "active"
	}
	return "inactive"
}
