package node

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
