package config

import (
	"cmp"
	"strconv"
)

// Method is how frames reach a real server.
type Method struct {
	Forwarding string // NAT, DR or TUN; "" if not written
	Tunnel     string // of TUN: ipip, gue or gre
	Port       uint16 // of gue
	Checksum   string // "", nocsum, csum or remcsum
}

func (m *Method) read(a *args) bool {
	var ok bool
	if m.Forwarding, ok = a.oneOf([]string{"NAT", "DR", "TUN"}, false); !ok {
		return false
	}
	m.Tunnel = map[string]string{"TUN": "ipip"}[m.Forwarding]
	for a.more() {
		switch t := a.next(); t.text {
		case "type":
			if m.Tunnel, ok = a.oneOf([]string{"ipip", "gue", "gre"}, false); !ok {
				return false
			}
		case "port":
			n, ok := a.number(1, 65535)
			if !ok {
				return false
			}
			m.Port = uint16(n)
		case "nocsum", "csum", "remcsum":
			m.Checksum = t.text
		default:
			return a.wrong(t.pos, "%s %s: must be type, port, nocsum, csum or remcsum", a.keyword.text, t.text)
		}
	}
	return m.complete(a)
}

// complete drops what a kind of tunnel does not have, as keepalived does.
func (m *Method) complete(a *args) bool {
	without := func(what string) {
		a.r.say(Warning, a.keyword.pos, "%s: %s has no %s; it is ignored", a.keyword.text, cmp.Or(m.Tunnel, m.Forwarding), what)
	}
	if m.Forwarding != "TUN" {
		m.Tunnel = ""
	}
	if m.Checksum != "" && m.Checksum != "nocsum" && m.Tunnel != "gue" && (m.Tunnel != "gre" || m.Checksum == "remcsum") {
		without(m.Checksum)
		m.Checksum = ""
	}
	if m.Port != 0 && m.Tunnel != "gue" {
		without("port")
		m.Port = 0
	}
	if m.Tunnel == "gue" && m.Port == 0 {
		return a.wrong(a.keyword.pos, "%s: a gue tunnel needs a port", a.keyword.text)
	}
	return true
}

func (m *Method) words() []string {
	if m.Forwarding == "" {
		return nil
	}
	words := []string{m.Forwarding}
	if m.Forwarding == "TUN" {
		words = append(words, "type", m.Tunnel)
	}
	if m.Port != 0 {
		words = append(words, "port", strconv.Itoa(int(m.Port)))
	}
	if m.Checksum != "" {
		words = append(words, m.Checksum)
	}
	return words
}
