package netlab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Machine is what a host, router, realserver or node statement declares.
type Machine struct {
	Name string
	Kind string // host, router, realserver, or the program of a node
	NICs []NIC
	Via  netip.Addr // the default gateway, invalid for none
	VIP  netip.Addr // of a real server
	// Forwarding is whether its kernel forwards for others.
	Forwarding bool
	Workers    int // of a ringkeep node; 0 for as many as without the option
}

// NIC is an interface of a machine on a lan, with its own addresses.
type NIC struct {
	LAN, Iface string
	Addrs      []netip.Prefix
}

// Programs are the kinds of a node.
var Programs = []string{"ringkeep", "keepalived", "frr"}

// ParseMachine reads a statement that declares a machine. With an error comes the
// number of the word that is wrong.
func ParseMachine(w []string) (m Machine, wrong int, err error) {
	m, at := Machine{Name: w[1], Kind: w[0], Forwarding: w[0] == "router"}, 2
	if w[0] == "node" {
		m.Kind, at = w[2], 3
		if !slices.Contains(Programs, m.Kind) {
			return m, 2, fmt.Errorf("kind %s: must be %s", m.Kind, strings.Join(Programs, " or "))
		}
	}
	for ; at < len(w); at++ {
		switch {
		case (w[at] == "via" || w[at] == "vip") && at+1 < len(w):
			at++
			a, err := netip.ParseAddr(w[at])
			if err != nil {
				return m, at, fmt.Errorf("%s: must be an address", w[at])
			}
			if w[at-1] == "via" {
				m.Via = a
			} else {
				m.VIP = a
			}
		case w[at] == "forwarding" && m.Kind != "realserver":
			m.Forwarding = true
		case w[at] == "workers" && m.Kind == "ringkeep" && at+1 < len(w):
			at++
			if m.Workers, err = strconv.Atoi(w[at]); err != nil || m.Workers < 1 {
				return m, at, fmt.Errorf("workers %s: must be a number from 1 on", w[at])
			}
		case len(m.NICs) == 0 || !strings.Contains(w[at], "/") && strings.Contains(w[at], ":"):
			lan, iface, ok := strings.Cut(w[at], ":")
			if !ok || iface == "" || len(iface) > 15 {
				return m, at, fmt.Errorf("%s: must be LAN:IFACE", w[at])
			}
			m.NICs = append(m.NICs, NIC{LAN: lan, Iface: iface})
		default:
			p, err := netip.ParsePrefix(w[at])
			if err != nil {
				return m, at, fmt.Errorf("%s: must be ADDR/LEN", w[at])
			}
			last := &m.NICs[len(m.NICs)-1]
			last.Addrs = append(last.Addrs, p)
		}
	}
	for i := range m.NICs {
		m.NICs[i].linkLocal()
	}
	switch {
	case m.Kind == "realserver" && !m.VIP.IsValid():
		return m, 0, fmt.Errorf("wrong number of words: %s", forms["realserver"].usage)
	case m.Kind != "realserver" && m.VIP.IsValid():
		return m, 0, fmt.Errorf("vip is for a realserver")
	}
	return m, 0, nil
}
