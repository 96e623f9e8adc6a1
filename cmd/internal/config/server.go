package config

import (
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// unset is a time or count that neither this block nor the one around it gives.
const unset = -1

func (r *reader) virtualServer(s *stmt) {
	if s.arg(0) == "fwmark" || s.arg(0) == "group" {
		r.say(Warning, s.pos(), "virtual_server %s: only services of one address and port are served by this version; it is ignored", s.arg(0))
		return
	}
	addr, ok := r.endpoint(s, 0)
	if !ok {
		return
	}
	vs := &VirtualServer{
		Pos: s.pos(), Addr: addr, Scheduler: "wlc", Method: "NAT", PersistenceMask: addr.Addr().BitLen(), Quorum: 1,
		DelayLoop: time.Minute, connectTimeout: 5 * time.Second, retry: unset, delayBeforeRetry: unset, warmup: unset, weight: 1,
	}
	// The real servers inherit: they are read after everything else.
	var rest, servers []stmt
	for _, b := range s.block {
		if b.keyword() == "real_server" {
			servers = append(servers, b)
		} else {
			rest = append(rest, b)
		}
	}
	walk(r, "virtual_server", rest, virtualServerTable(), vs)
	r.resolveService(s, vs)
	for i := range servers {
		r.realServer(&servers[i], vs)
	}
	r.resolveQuorum(vs)
	if r.served(vs) {
		r.cfg.VirtualServers = append(r.cfg.VirtualServers, vs)
	}
}

// endpoint reads an address and a port, which may be missing.
func (r *reader) endpoint(s *stmt, i int) (netip.AddrPort, bool) {
	a, ok := r.addr(s, i)
	if !ok {
		return netip.AddrPort{}, false
	}
	port := 0
	if t := s.arg(i + 1); t != "" {
		n, err := strconv.Atoi(t)
		if err != nil || n < 1 || n > 65535 {
			r.say(Warning, s.argPos(i+1), "port %s: must be a number from 1 to 65535; the line is ignored", t)
			return netip.AddrPort{}, false
		}
		port = n
	}
	return netip.AddrPortFrom(a, uint16(port)), true
}

func (r *reader) resolveService(s *stmt, vs *VirtualServer) {
	if vs.Protocol == 0 {
		r.say(Warning, s.pos(), "virtual_server %v: has no protocol: keepalived takes UDP; write \"protocol TCP\" for TCP", vs.Addr)
		vs.Protocol = 17
	}
	if vs.Addr.Port() == 0 && vs.Persistence == 0 {
		vs.Persistence = defaultPersistence
	}
}

// served tells whether the data plane of this version has what the service needs.
func (r *reader) served(vs *VirtualServer) bool {
	switch {
	case vs.Method != "DR":
		r.say(Warning, vs.Pos, "virtual_server %v: lb_kind %s is not available in this version (DR is): the service is not served", vs.Addr, vs.Method)
	case vs.Protocol == 132:
		r.say(Warning, vs.Pos, "virtual_server %v: SCTP is not available in this version: the service is not served", vs.Addr)
	case vs.Addr.Addr().Is6():
		r.say(Warning, vs.Pos, "virtual_server %v: IPv6 is not available in this version: the service is not served", vs.Addr)
	case !served[vs.Scheduler]:
		r.say(Warning, vs.Pos, "virtual_server %v: scheduler %s is not available in this version (rr, wrr, lc and wlc are): the service is not served", vs.Addr, vs.Scheduler)
	default:
		return true
	}
	return false
}

var served = map[string]bool{"rr": true, "wrr": true, "lc": true, "wlc": true}

var schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos"}

// resolveQuorum applies keepalived's corrections.
func (r *reader) resolveQuorum(vs *VirtualServer) {
	sum := 0
	for _, rs := range vs.RealServers {
		sum += max(0, rs.Weight)
	}
	if sum > 0 && vs.Quorum > sum {
		r.say(Warning, vs.Pos, "virtual_server %v: quorum %d is more than all weights together; it becomes %d", vs.Addr, vs.Quorum, sum)
		vs.Quorum = sum
	}
	if vs.Hysteresis >= vs.Quorum {
		if vs.Hysteresis > 0 {
			r.say(Warning, vs.Pos, "virtual_server %v: hysteresis %d must be below the quorum; it becomes %d", vs.Addr, vs.Hysteresis, vs.Quorum-1)
		}
		vs.Hysteresis = vs.Quorum - 1
	}
	if len(vs.RealServers) == 0 {
		r.say(Warning, vs.Pos, "virtual_server %v: has no real_server", vs.Addr)
	}
}

// defaultPersistence is what a bare persistence_timeout means.
const defaultPersistence = 360 * time.Second

func (r *reader) choice(s *stmt, among []string) (string, bool) {
	t, ok := r.text(s)
	if !ok {
		return "", false
	}
	if strings.Contains(t, "|") {
		r.say(Warning, s.argPos(0), "%s %s: alternatives pasted from a manual: choose one; the line is ignored", s.keyword(), t)
		return "", false
	}
	for _, a := range among {
		if strings.EqualFold(a, t) {
			return a, true
		}
	}
	near := nearest(t, append([]string(nil), among...))
	if near != "" {
		near = " (did you mean " + near + "?)"
	}
	r.say(Warning, s.argPos(0), "%s %s: must be one of %s%s; the line is ignored", s.keyword(), t, strings.Join(among, ", "), near)
	return "", false
}

func setChoice[T any](among []string, field func(T) *string) func(*reader, *stmt, T) {
	return func(r *reader, s *stmt, v T) {
		if t, ok := r.choice(s, among); ok {
			*field(v) = t
		}
	}
}

var protocols = map[string]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}

func virtualServerTable() table[*VirtualServer] {
	method := setChoice([]string{"NAT", "DR", "TUN"}, func(v *VirtualServer) *string { return &v.Method })
	scheduler := setChoice(schedulers, func(v *VirtualServer) *string { return &v.Scheduler })
	return table[*VirtualServer]{
		"lb_algo": scheduler, "lvs_sched": scheduler, "lb_kind": method, "lvs_method": method,
		"delay_loop": setSeconds(0.000001, maxSeconds, func(v *VirtualServer) *time.Duration { return &v.DelayLoop }),
		"protocol": func(r *reader, s *stmt, v *VirtualServer) {
			if t, ok := r.choice(s, []string{"TCP", "UDP", "SCTP"}); ok {
				v.Protocol = protocols[t]
			}
		},
		"persistence_timeout": func(r *reader, s *stmt, v *VirtualServer) {
			v.Persistence = defaultPersistence
			if s.arg(0) != "" {
				setSeconds(1, 1<<31, func(v *VirtualServer) *time.Duration { return &v.Persistence })(r, s, v)
			}
		},
		"persistence_granularity": func(r *reader, s *stmt, v *VirtualServer) {
			if n, ok := r.maskLength(s); ok {
				v.PersistenceMask = n
			}
		},
		"ha_suspend":         setFlag(func(v *VirtualServer) *bool { return &v.HASuspend }),
		"alpha":              setFlag(func(v *VirtualServer) *bool { return &v.Alpha }),
		"omega":              setFlag(func(v *VirtualServer) *bool { return &v.Omega }),
		"inhibit_on_failure": setFlag(func(v *VirtualServer) *bool { return &v.InhibitOnFailure }),
		"virtualhost":        setText(func(v *VirtualServer) *string { return &v.Virtualhost }),
		"quorum":             setNumber(1, 1<<30, func(v *VirtualServer) *int { return &v.Quorum }),
		"hysteresis":         setNumber(0, 1<<30, func(v *VirtualServer) *int { return &v.Hysteresis }),
		"quorum_up":          setCommand(func(v *VirtualServer) **Command { return &v.QuorumUp }),
		"quorum_down":        setCommand(func(v *VirtualServer) **Command { return &v.QuorumDown }),
		"weight":             setNumber(0, 65535, func(v *VirtualServer) *int { return &v.weight }),
		"connect_timeout":    setSeconds(0.000001, maxSeconds, func(v *VirtualServer) *time.Duration { return &v.connectTimeout }),
		"retry":              setNumber(1, 1<<30, func(v *VirtualServer) *int { return &v.retry }),
		"delay_before_retry": setSeconds(0, maxSeconds, func(v *VirtualServer) *time.Duration { return &v.delayBeforeRetry }),
		"warmup":             setSeconds(0, maxSeconds, func(v *VirtualServer) *time.Duration { return &v.warmup }),
		"sorry_server": func(r *reader, s *stmt, v *VirtualServer) {
			if a, ok := r.endpoint(s, 0); ok {
				v.SorryServer = &RealServer{Pos: s.pos(), Addr: samePort(a, v), Weight: 1}
			}
		},
	}
}

// samePort gives a server of a DR service the port of the service: direct routing
// does not change it.
func samePort(a netip.AddrPort, v *VirtualServer) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), v.Addr.Port())
}

// maskLength reads a netmask, or the length of one.
func (r *reader) maskLength(s *stmt) (int, bool) {
	t, ok := r.text(s)
	if !ok || placeholder(t) {
		return 0, false
	}
	if n, err := strconv.Atoi(t); err == nil && n >= 1 && n <= 128 {
		return n, true
	}
	if a, err := netip.ParseAddr(t); err == nil && a.Is4() {
		b := a.As4()
		m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		if n := bits.LeadingZeros32(^m); m != 0 && m<<n == 0 {
			return n, true
		}
	}
	r.say(Warning, s.argPos(0), "%s %s: must be a netmask or its length; the line is ignored", s.keyword(), t)
	return 0, false
}

func (r *reader) realServer(s *stmt, vs *VirtualServer) {
	addr, ok := r.endpoint(s, 0)
	if !ok {
		return
	}
	if addr.Port() != 0 && addr.Port() != vs.Addr.Port() && vs.Method != "NAT" {
		r.say(Warning, s.argPos(1), "real_server %v: %s does not change ports: it becomes %d", addr, vs.Method, vs.Addr.Port())
	}
	if addr.Port() == 0 || vs.Method != "NAT" {
		addr = samePort(addr, vs)
	}
	for _, other := range vs.RealServers {
		if other.Addr == addr {
			r.say(Warning, s.pos(), "real_server %v stands at %v already; this one is ignored", addr, other.Pos)
			return
		}
	}
	rs := &RealServer{
		Pos: s.pos(), Addr: addr, Weight: vs.weight, InhibitOnFailure: vs.InhibitOnFailure, Alpha: vs.Alpha,
		delayLoop: vs.DelayLoop, connectTimeout: vs.connectTimeout, retry: vs.retry, delayBeforeRetry: vs.delayBeforeRetry, warmup: vs.warmup,
	}
	var rest, checks []stmt
	for _, b := range s.block {
		if b.keyword() == "TCP_CHECK" {
			checks = append(checks, b)
		} else {
			rest = append(rest, b)
		}
	}
	walk(r, "virtual_server/real_server", rest, realServerTable(), rs)
	for i := range checks {
		r.check(&checks[i], rs)
	}
	vs.RealServers = append(vs.RealServers, rs)
}

func realServerTable() table[*RealServer] {
	return table[*RealServer]{
		"weight":             setNumber(0, 65535, func(v *RealServer) *int { return &v.Weight }),
		"inhibit_on_failure": setFlag(func(v *RealServer) *bool { return &v.InhibitOnFailure }),
		"alpha":              setFlag(func(v *RealServer) *bool { return &v.Alpha }),
		"notify_up":          setCommand(func(v *RealServer) **Command { return &v.NotifyUp }),
		"notify_down":        setCommand(func(v *RealServer) **Command { return &v.NotifyDown }),
		"delay_loop":         setSeconds(0.000001, maxSeconds, func(v *RealServer) *time.Duration { return &v.delayLoop }),
		"connect_timeout":    setSeconds(0.000001, maxSeconds, func(v *RealServer) *time.Duration { return &v.connectTimeout }),
		"retry":              setNumber(1, 1<<30, func(v *RealServer) *int { return &v.retry }),
		"delay_before_retry": setSeconds(0, maxSeconds, func(v *RealServer) *time.Duration { return &v.delayBeforeRetry }),
		"warmup":             setSeconds(0, maxSeconds, func(v *RealServer) *time.Duration { return &v.warmup }),
	}
}

// check reads a TCP_CHECK. What it does not say it inherits from its real server,
// that from its virtual server.
func (r *reader) check(s *stmt, rs *RealServer) {
	c := &Check{
		Pos: s.pos(), Kind: s.keyword(), Connect: rs.Addr, ConnectTimeout: rs.connectTimeout, DelayLoop: rs.delayLoop,
		Retry: rs.retry, DelayBeforeRetry: rs.delayBeforeRetry, Warmup: rs.warmup, Alpha: rs.Alpha,
	}
	walk(r, "virtual_server/real_server/TCP_CHECK", s.block, checkTable(), c)
	if c.Retry == unset {
		c.Retry = 1
	}
	if c.DelayBeforeRetry == unset {
		c.DelayBeforeRetry = time.Second
	}
	if c.Warmup == unset {
		c.Warmup = c.DelayLoop
	}
	if c.Bind.IsValid() && c.Bind.Addr().Is4() != c.Connect.Addr().Is4() {
		r.say(Warning, s.pos(), "bindto and connect_ip must be of one family; bindto is ignored")
		c.Bind = netip.AddrPort{}
	}
	rs.Checks = append(rs.Checks, c)
}

func checkTable() table[*Check] {
	port := func(field func(*Check) *netip.AddrPort) func(*reader, *stmt, *Check) {
		return func(r *reader, s *stmt, c *Check) {
			if n, ok := r.number(s, 1, 65535); ok {
				*field(c) = netip.AddrPortFrom(field(c).Addr(), uint16(n))
			}
		}
	}
	addr := func(field func(*Check) *netip.AddrPort) func(*reader, *stmt, *Check) {
		return func(r *reader, s *stmt, c *Check) {
			if a, ok := r.addr(s, 0); ok {
				*field(c) = netip.AddrPortFrom(a, field(c).Port())
			}
		}
	}
	connect := func(c *Check) *netip.AddrPort { return &c.Connect }
	bind := func(c *Check) *netip.AddrPort { return &c.Bind }
	return table[*Check]{
		"connect_ip": addr(connect), "connect_port": port(connect), "bindto": addr(bind), "bind_port": port(bind),
		"bind_if":            setText(func(c *Check) *string { return &c.BindInterface }),
		"connect_timeout":    setSeconds(0.000001, maxSeconds, func(c *Check) *time.Duration { return &c.ConnectTimeout }),
		"delay_loop":         setSeconds(0.000001, maxSeconds, func(c *Check) *time.Duration { return &c.DelayLoop }),
		"delay_before_retry": setSeconds(0, maxSeconds, func(c *Check) *time.Duration { return &c.DelayBeforeRetry }),
		"warmup":             setSeconds(0, maxSeconds, func(c *Check) *time.Duration { return &c.Warmup }),
		"retry":              setNumber(0, 1<<30, func(c *Check) *int { return &c.Retry }),
		"alpha":              setFlag(func(c *Check) *bool { return &c.Alpha }),
	}
}
