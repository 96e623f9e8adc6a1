package node

import (
	"fmt"
	"strings"
)

// mails tells whether there is anybody to write to.
func (n *Node) mails() bool {
	return n.cfg.Global.SMTPServer.Host != "" && len(n.cfg.Global.NotificationEmail) > 0
}

// mail writes of a new state, once: *last is the state of the last mail (reference 4.5).
func (n *Node) mail(last *string, what, state string, bodies map[string]string) {
	if !n.mails() || state == *last || state == "FAULT" && n.cfg.Global.NoEmailFaults {
		return
	}
	*last = state
	subject := what + " - Entering " + state + " state"
	if state == "STOP" {
		subject = what + " - Stopping"
	}
	n.emit(Mail{Subject: subject, Body: bodies[state]})
}

var instanceMails = map[string]string{
	"MASTER": "VRRP Instance is now owning VRRP VIPs",
	"BACKUP": "VRRP Instance is no longer owning VRRP VIPs",
	"FAULT":  "VRRP Instance is no longer owning VRRP VIPs",
	"STOP":   "VRRP Instance stopping",
}

func (n *Node) mailInstance(in *instance, state string) {
	if in.cfg.SMTPAlert {
		n.mail(&in.mailed, "VRRP Instance "+in.cfg.Name, state, instanceMails)
	}
}

var groupMails = map[string]string{
	"MASTER": "All VRRP group instances are now in MASTER state",
	"BACKUP": "All VRRP group instances are now in BACKUP state",
	"FAULT":  "All VRRP group instances are now in FAULT state",
	"STOP":   "All VRRP group instances are now stopping",
}

func (n *Node) mailGroup(g *group, state string) {
	if g.cfg.SMTPAlert {
		n.mail(&g.mailed, "VRRP Group "+g.cfg.Name, state, groupMails)
	}
}

// mailServer writes of a check that turned; the subject says what its server is now
// (reference 4.5). With no_checker_emails only a turn of the server itself is worth it.
func (n *Node) mailServer(s *service, rs *realServer, c *checker, turned bool, reason string) {
	if rs.cfg.SMTPAlert && n.mails() && (turned || !n.cfg.Global.NoCheckerEmails) {
		n.emit(Mail{Subject: serverSubject(s, rs, rs.alive), Body: checkBody(c, reason)})
	}
}

func serverSubject(s *service, rs *realServer, up bool) string {
	return "Realserver " + s.serverName(rs) + " of virtual server " + s.name + " - " + upOrDown(up)
}

// checkBody is what keepalived writes of each kind of check.
func checkBody(c *checker, reason string) string {
	word := "failed"
	if c.up {
		word = "succeed"
	}
	switch c.cfg.Kind {
	case "TCP_CHECK", "UDP_CHECK":
		return c.cfg.Kind[:3] + " CHECK " + word + " on service"
	case "BFD_CHECK":
		return "BFD CHECK " + c.cfg.BFD + " " + word + " on service"
	case "PING_CHECK":
		return "ICMP CHECK " + word + " on service"
	case "MISC_CHECK":
		switch {
		case c.up:
			word = "succeeded"
		case strings.HasPrefix(reason, "timed out"):
			word = "timed out"
		}
		return "MISC CHECK " + word + " on service"
	case "HTTP_GET", "SSL_GET":
		if !c.up {
			return "CHECK failed on service : HTTP/SSL request failed"
		}
	case "SMTP_CHECK":
		if !c.up {
			return "CHECK failed on service : " + reason
		}
	default:
		return c.cfg.Kind + ": " + word + " on service"
	}
	return "CHECK succeed on service"
}

// mailQuorum writes of a quorum that was gained or lost. The threshold is the one that
// counted, though the sum is written alike for both, as keepalived does.
func (n *Node) mailQuorum(s *service, weight int) {
	if !s.cfg.SMTPAlert || !n.mails() {
		return
	}
	q, h := s.cfg.Quorum, s.cfg.Hysteresis
	body := fmt.Sprintf("Gained quorum %d+%d=%d <= %d", q, h, q+h, weight)
	if !s.quorum {
		body = fmt.Sprintf("Lost quorum %d+%d=%d <= %d", q, h, q-h, weight)
	}
	if !s.judged {
		body = "Starting with quorum up"
	}
	n.emit(Mail{Subject: quorumSubject(s), Body: body})
}

func quorumSubject(s *service) string {
	return "Virtualserver " + s.name + " - " + upOrDown(s.quorum)
}
