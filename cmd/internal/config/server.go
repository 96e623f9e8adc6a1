package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// head reads ADDR [PORT], fwmark N or group NAME.
func (vs *VirtualServer) head(a *args) bool {
	switch a.peek() {
	case "fwmark":
		a.next()
		n, ok := a.number(0, 1<<32-1)
		vs.ByMark, vs.Fwmark = true, uint32(n)
		return ok
	case "group":
		a.next()
		name, ok := a.value()
		vs.Group = name.text
		return ok
	}
	var ok bool
	vs.Addr, ok = a.endpoint(0)
	return ok
}

func (vs *VirtualServer) header() []string {
	switch {
	case vs.ByMark:
		return []string{"fwmark", strconv.FormatUint(uint64(vs.Fwmark), 10)}
	case vs.Group != "":
		return []string{"group", vs.Group}
	}
	return endpointWords(vs.Addr)
}

// String names the service as its line does.
func (vs *VirtualServer) String() string {
	switch {
	case vs.ByMark:
		return "fwmark " + strconv.FormatUint(uint64(vs.Fwmark), 10)
	case vs.Group != "":
		return "group " + vs.Group
	}
	return vs.Addr.String()
}

// endpoint takes an address and a port, which may be missing.
func (a *args) endpoint(least float64) (netip.AddrPort, bool) {
	addr, ok := a.addr()
	if !ok || !a.more() {
		return netip.AddrPortFrom(addr, 0), ok
	}
	a.keyword.text = "port"
	n, ok := a.number(least, 65535)
	return netip.AddrPortFrom(addr, uint16(n)), ok
}

func endpointWords(a netip.AddrPort) []string {
	if a.Port() == 0 {
		return []string{a.Addr().String()}
	}
	return []string{a.Addr().String(), strconv.Itoa(int(a.Port()))}
}

func (rs *RealServer) head(a *args) bool {
	var ok bool
	rs.Addr, ok = a.endpoint(0)
	rs.port = rs.Addr.Port()
	return ok
}

func (rs *RealServer) header() []string {
	return endpointWords(netip.AddrPortFrom(rs.Addr.Addr(), cmp.Or(rs.Addr.Port(), rs.port)))
}

// read reads a sorry_server.
func (rs *RealServer) read(a *args) bool {
	rs.Pos, rs.Weight = a.keyword.pos, 1
	return rs.head(a)
}

func (rs *RealServer) words() []string { return rs.header() }

func (r *reader) resolveService(vs *VirtualServer) {
	vs.kernel = vs.Dataplane == "ipvs" || vs.Dataplane == "" && r.options.IPVS
	if vs.Protocol == 0 && !vs.ByMark {
		r.say(Warning, vs.Pos, "virtual_server %v: has no protocol: keepalived takes UDP; write \"protocol TCP\" for TCP", vs)
		vs.Protocol = 17
	}
	if vs.ByMark && vs.Protocol != 0 {
		r.say(Warning, vs.At("protocol"), "virtual_server %v: a mark says nothing of protocols; protocol is ignored", vs)
		vs.Protocol = 0
	}
	r.resolveEndpoints(vs)
	if !vs.Has("lvs_sched") {
		r.say(Notice, vs.Pos, "virtual_server %v: has no lvs_sched: wlc is taken", vs)
	}
	r.resolvePersistence(vs)
	if vs.OPS && vs.Protocol != 17 && !vs.ByMark {
		r.say(Warning, vs.At("ops"), "virtual_server %v: ops is for UDP; it is ignored", vs)
		vs.OPS = false
	}
	r.inheritGlobal(tables()["virtual_server"], reflect.ValueOf(vs).Elem())
	if vs.CacheBypass && vs.Has("cache_bypass") && !vs.ByMark && vs.Group == "" {
		r.say(Warning, vs.At("cache_bypass"), "virtual_server %v: cache_bypass is for marks; it is ignored", vs)
		vs.CacheBypass = false
	}
	r.schedulerFlags(vs)
	r.resolvePool(vs)
	r.resolveQuorum(vs)
	r.alerts(&vs.Block, &vs.SMTPAlert, r.cfg.Global.SMTPAlertChecker, false)
	if vs.HASuspend && (vs.ByMark || vs.Group != "") {
		r.say(Warning, vs.At("ha_suspend"), "virtual_server %v: has no address of its own for ha_suspend to wait for; it is ignored", vs)
		vs.HASuspend = false
	}
	if vs.PersistenceEngine != "" && !vs.kernel {
		r.say(Notice, vs.At("persistence_engine"), "virtual_server %v: a persistence_engine is the kernel's: it counts with --dataplane ipvs, or below a line @ringkeep dataplane ipvs", vs)
	}
	r.served(vs)
}

func (r *reader) resolvePersistence(vs *VirtualServer) {
	is6 := func(e Endpoint) bool { return e.Addr.Addr().Is6() }
	family := 32
	if slices.ContainsFunc(vs.Endpoints(), is6) {
		family = 128
	}
	if vs.PersistenceMask == 0 || int(vs.PersistenceMask) > family {
		if vs.PersistenceMask != 0 {
			r.say(Warning, vs.At("persistence_granularity"), "persistence_granularity %d: must be 1 to %d; it is ignored", vs.PersistenceMask, family)
			delete(vs.at, "persistence_granularity")
		}
		vs.PersistenceMask = MaskLength(family)
	} else if vs.Has("persistence_granularity") && !vs.Has("persistence_timeout") {
		vs.Persistence = defaultPersistence
	}
	everyPort := func(e Endpoint) bool { return e.Mark == 0 && !e.Addr.Addr().IsUnspecified() && e.Addr.Port() == 0 }
	if vs.Persistence == 0 && slices.ContainsFunc(vs.Endpoints(), everyPort) {
		r.say(Warning, vs.Pos, "virtual_server %v: a service of every port needs persistence_timeout; it becomes 360 seconds", vs)
		vs.Persistence = defaultPersistence
	}
	if vs.Persistence > 0 {
		if !vs.Has("persistence_timeout") {
			vs.mark("persistence_timeout", vs.Pos)
		}
		if !vs.Has("persistence_granularity") {
			vs.mark("persistence_granularity", vs.Pos)
		}
	}
}

// schedulerFlags drops flags of another scheduler. keepalived wants lvs_sched above them.
func (r *reader) schedulerFlags(vs *VirtualServer) {
	for _, f := range []struct {
		keyword string
		of      Scheduler
		on      *bool
	}{{"sh-port", "sh", &vs.SHPort}, {"sh-fallback", "sh", &vs.SHFallback}, {"mh-port", "mh", &vs.MHPort}, {"mh-fallback", "mh", &vs.MHFallback}} {
		switch {
		case !*f.on:
		case vs.Scheduler != f.of:
			r.say(Warning, vs.At(f.keyword), "%s is for lvs_sched %s; it is ignored", f.keyword, f.of)
			*f.on = false
		case before(vs.At(f.keyword), vs.At("lvs_sched")):
			r.say(Warning, vs.At(f.keyword), "%s stands above lvs_sched %s: keepalived ignores it there; it is ignored", f.keyword, f.of)
			*f.on = false
		}
	}
}

// resolvePool gives the real servers and their checks what they do not say.
func (r *reader) resolvePool(vs *VirtualServer) {
	outer, inner := tables()["virtual_server"], tables()["real_server"]
	var kept []*RealServer
	for _, rs := range vs.RealServers {
		r.inherit(inner, reflect.ValueOf(rs).Elem(), reflect.ValueOf(vs).Elem(), outer)
		r.alerts(&rs.Block, &rs.SMTPAlert, r.cfg.Global.SMTPAlertChecker, true)
		r.resolvePort(vs, rs)
		if i := slices.IndexFunc(kept, func(o *RealServer) bool { return sameServer(vs, o, rs) }); i >= 0 {
			r.say(Warning, rs.Pos, "real_server %v stands at %v already; this one is ignored", rs.Addr, kept[i].Pos)
			continue
		}
		if !rs.serves(vs) {
			r.say(Warning, rs.Pos, "real_server %v: is of another family than the service, which only TUN can bridge; it is ignored", rs.Addr)
			continue
		}
		if rs.UThreshold != 0 && rs.LThreshold > rs.UThreshold {
			r.say(Warning, rs.At("lthreshold"), "lthreshold %d is above uthreshold %d", rs.LThreshold, rs.UThreshold)
		}
		kept = append(kept, rs)
		r.resolveChecks(rs)
		for _, c := range rs.Checks {
			c.ServerWeight = rs.Weight
			for _, u := range c.URLs {
				u.SNI = serverName(vs, rs, c, u)
			}
		}
	}
	vs.RealServers = kept
	r.resolveSorry(vs)
}

// resolveSorry gives the sorry server its method and port.
func (r *reader) resolveSorry(vs *VirtualServer) {
	s := vs.SorryServer
	if s == nil {
		for _, keyword := range []string{"sorry_server_inhibit", "sorry_server_lvs_method"} {
			if vs.Has(keyword) {
				r.say(Warning, vs.At(keyword), "%s without a sorry_server; it is ignored", keyword)
			}
		}
		vs.SorryServerInhibit, vs.SorryServerMethod = false, Method{}
		return
	}
	early := func(keyword string) bool {
		is := vs.Has(keyword) && before(vs.At(keyword), s.Pos)
		if is {
			r.say(Warning, vs.At(keyword), "%s stands above sorry_server: keepalived ignores it there; it is ignored", keyword)
		}
		return is
	}
	if early("sorry_server_inhibit") {
		vs.SorryServerInhibit = false
	}
	if early("sorry_server_lvs_method") {
		vs.SorryServerMethod = Method{}
	}
	if s.Method = vs.SorryServerMethod; s.Method.Forwarding == "" {
		s.Method = vs.Method
	}
	if !s.serves(vs) {
		r.say(Warning, s.Pos, "sorry_server %v: is of another family than the service, which only TUN can bridge; it is ignored", s.Addr)
		vs.SorryServer, vs.SorryServerInhibit, vs.SorryServerMethod = nil, false, Method{}
		return
	}
	r.resolvePort(vs, s)
	s.Virtualhost = vs.Virtualhost
}

// sameServer tells whether two real servers are one to the data plane: behind a group DR and
// TUN leave the port of the packet alone.
func sameServer(vs *VirtualServer, a, b *RealServer) bool {
	ports := vs.Group == "" || a.Method.Forwarding == "NAT" && b.Method.Forwarding == "NAT"
	return a.Addr == b.Addr || !ports && a.Addr.Addr() == b.Addr.Addr()
}

// serverName is the name that TLS sends: as keepalived does it passes over what the real
// server says, which counts for the Host header alone.
func serverName(vs *VirtualServer, rs *RealServer, c *Check, u *URL) string {
	const keyword = "virtualhost"
	ofServer := rs.Has(keyword) && u.Has(keyword) && u.At(keyword) == rs.At(keyword) && !(vs.Has(keyword) && vs.At(keyword) == rs.At(keyword))
	switch {
	case c.SNIName != "":
		return c.SNIName
	case !c.EnableSNI || c.Kind != "SSL_GET":
		return ""
	case ofServer:
		return vs.Virtualhost
	}
	return u.Virtualhost
}

// resolvePort gives a server of a DR or TUN service the port of the service: these
// methods do not change it. A mark has no port.
func (r *reader) resolvePort(vs *VirtualServer, rs *RealServer) {
	port := vs.Addr.Port()
	switch {
	case rs.Method.Forwarding == "NAT" && rs.Addr.Port() != 0:
		return
	case rs.Addr.Port() != 0 && vs.ByMark:
		r.say(Warning, rs.Pos, "real_server %v: a service by mark keeps the ports of its packets; the port is that of checks only", rs.Addr)
	case rs.Addr.Port() != 0 && vs.Group != "":
		r.say(Warning, rs.Pos, "real_server %v: %s keeps the port of the group's entry; the port is that of checks only", rs.Addr, rs.Method.Forwarding)
		port = rs.Addr.Port()
	case rs.Addr.Port() != 0 && rs.Addr.Port() != port:
		r.say(Warning, rs.Pos, "real_server %v: %s does not change ports: it becomes %d", rs.Addr, rs.Method.Forwarding, port)
	}
	rs.Addr = netip.AddrPortFrom(rs.Addr.Addr(), port)
}

// resolveChecks also makes a check of its own of every host block of SMTP_CHECK: the
// first one takes the place of a check that names no target.
func (r *reader) resolveChecks(rs *RealServer) {
	var all []*Check
	for _, c := range rs.Checks {
		hosts := c.Hosts
		c.Hosts = nil
		r.inherit(tables()[c.Kind], reflect.ValueOf(c).Elem(), reflect.ValueOf(rs).Elem(), tables()["real_server"])
		if len(hosts) == 0 || c.Has("connect_ip") || c.Has("connect_port") || c.Has("bindto") {
			all = append(all, c)
		}
		for _, h := range hosts {
			r.say(Notice, h.Pos, "host: is one more SMTP_CHECK; write it as one")
			r.inherit(tables()["host"], reflect.ValueOf(h).Elem(), reflect.ValueOf(c).Elem(), tables()[c.Kind])
			h.Kind, h.HeloName = c.Kind, c.HeloName
			all = append(all, h)
		}
	}
	rs.Checks = nil
	for _, c := range all {
		if r.resolveCheck(rs, c) {
			rs.Checks = append(rs.Checks, c)
		}
	}
}

func (r *reader) resolveCheck(rs *RealServer, c *Check) bool {
	t := tables()[c.Kind]
	r.inheritGlobal(t, reflect.ValueOf(c).Elem())
	if !c.Has("warmup") {
		c.Warmup = c.DelayLoop
		c.mark("warmup", c.At("delay_loop"))
	}
	if t.byName["delay_before_retry"] != nil && !c.Has("delay_before_retry") {
		c.DelayBeforeRetry = c.DelayLoop
		c.mark("delay_before_retry", c.At("delay_loop"))
	}
	c.Connect = netip.AddrPortFrom(c.ConnectIP, cmp.Or(c.ConnectPort, rs.Addr.Port(), rs.port))
	if !c.ConnectIP.IsValid() {
		c.Connect = netip.AddrPortFrom(rs.Addr.Addr(), c.Connect.Port())
	}
	if c.BindTo.IsValid() && c.BindTo.Is4() != c.Connect.Addr().Is4() {
		r.say(Warning, c.At("bindto"), "bindto and connect_ip must be of one family; bindto is ignored")
		c.BindTo = netip.Addr{}
	}
	if c.BindTo.IsValid() || c.BindPort != 0 {
		c.Bind = netip.AddrPortFrom(c.BindTo, c.BindPort)
	}
	if c.Connect.Port() == 0 && t.byName["connect_port"] != nil && c.Kind != "PING_CHECK" {
		r.say(Warning, c.Pos, "%s of %v: has no port to go to, so it fails; write connect_port", c.Kind, rs.Addr.Addr())
	}
	if c.Connect.Addr().IsLinkLocalUnicast() && c.Connect.Addr().Is6() && c.BindInterface == "" {
		r.say(Warning, c.Pos, "%s of %v: a link-local address needs bind_if; the check is ignored", c.Kind, c.Connect.Addr())
		return false
	}
	return r.completeCheck(rs, c)
}

// completeCheck drops a check that lacks what it is about.
func (r *reader) completeCheck(rs *RealServer, c *Check) bool {
	drop := func(what string) bool {
		r.say(Warning, c.Pos, "%s of %v: %s; the check is ignored", c.Kind, rs.Addr, what)
		return false
	}
	switch c.Kind {
	case "HTTP_GET", "SSL_GET":
		c.URLs = slices.DeleteFunc(c.URLs, func(u *URL) bool {
			if u.Path == "" {
				r.say(Warning, u.Pos, "url without a path; it is ignored")
				return true
			}
			r.inherit(tables()["url"], reflect.ValueOf(u).Elem(), reflect.ValueOf(c).Elem(), tables()[c.Kind])
			r.regexOptions(u)
			return false
		})
		if len(c.URLs) == 0 {
			return drop("has no url with a path")
		}
	case "MISC_CHECK":
		if c.MiscPath == nil {
			return drop("has no misc_path")
		}
		if c.MiscPath.User != "" && c.User == "" {
			c.Account = c.MiscPath.Account
		}
		if c.MiscPath.Account = (Account{}); c.User == "" {
			c.Account = r.cfg.Global.ScriptUser
		}
		if c.MiscTimeout == 0 {
			c.MiscTimeout = c.DelayLoop
		}
	case "BFD_CHECK":
		if c.BFD == "" {
			return drop("has no name")
		}
		i := slices.IndexFunc(r.cfg.BFDs, func(b *BFD) bool { return b.Name == c.BFD && before(b.Pos, c.Pos) })
		switch {
		case i < 0:
			return drop("there is no bfd_instance " + c.BFD + " above")
		case !r.cfg.BFDs[i].Checker:
			return drop("bfd_instance " + c.BFD + " has the word vrrp, so checks hear nothing of it")
		case slices.ContainsFunc(rs.Checks, func(o *Check) bool { return o.Kind == c.Kind && o.BFD == c.BFD }):
			return drop("another one has bfd_instance " + c.BFD + " already")
		}
	case "FILE_CHECK":
		i := slices.IndexFunc(r.cfg.TrackFiles, func(f *TrackFile) bool { return f.Name == c.TrackFile && before(f.Pos, c.Pos) })
		switch {
		case c.TrackFile == "":
			return drop("has no track_file")
		case i < 0:
			return drop("there is no track_file " + c.TrackFile + " above")
		case !c.Has("weight"):
			c.Weight, c.Reverse = r.cfg.TrackFiles[i].Weight, r.cfg.TrackFiles[i].Reverse
			c.mark("weight", r.cfg.TrackFiles[i].Pos)
		}
	}
	return true
}

func (r *reader) regexOptions(u *URL) {
	if u.Regex != "" {
		if r.options.Regex == nil {
			return
		}
		if err := r.options.Regex(u.Regex, u.RegexOptions); err != nil {
			r.say(Warning, u.At("regex"), "%v; it is ignored", err)
			u.Regex, u.RegexNoMatch, u.RegexOptions, u.RegexMinOffset, u.RegexMaxOffset = "", false, nil, 0, 0
		}
		return
	}
	for _, keyword := range []string{"regex_no_match", "regex_options", "regex_min_offset", "regex_max_offset"} {
		if u.Has(keyword) {
			r.say(Warning, u.At(keyword), "%s without a regex; it is ignored", keyword)
		}
	}
	u.RegexNoMatch, u.RegexOptions, u.RegexMinOffset, u.RegexMaxOffset = false, nil, 0, 0
}

// resolveQuorum applies keepalived's corrections.
func (r *reader) resolveQuorum(vs *VirtualServer) {
	sum := 0
	for _, rs := range vs.RealServers {
		sum += max(0, rs.Weight)
	}
	if sum > 0 && vs.Quorum > sum {
		r.say(Warning, vs.At("quorum"), "virtual_server %v: quorum %d is more than all weights together; it becomes %d", vs, vs.Quorum, sum)
		vs.Quorum = sum
	}
	if vs.Hysteresis >= vs.Quorum {
		if vs.Hysteresis > 0 {
			r.say(Warning, vs.At("hysteresis"), "virtual_server %v: hysteresis %d must be below the quorum; it becomes %d", vs, vs.Hysteresis, vs.Quorum-1)
		}
		vs.Hysteresis = vs.Quorum - 1
	}
	if len(vs.RealServers) == 0 {
		r.say(Warning, vs.Pos, "virtual_server %v: has no real_server", vs)
	}
}

func (r *reader) crossServices() {
	c := r.cfg
	name := func(vs *VirtualServer) string {
		if vs.ByMark {
			return fmt.Sprint(vs, " of IPv", vs.family())
		}
		return fmt.Sprint(vs, " ", vs.Protocol)
	}
	c.VirtualServers = unique(r, "virtual_server", c.VirtualServers, name, func(vs *VirtualServer) Pos { return vs.Pos })
	c.VirtualServers = slices.DeleteFunc(c.VirtualServers, func(vs *VirtualServer) bool {
		if vs.Group == "" || slices.ContainsFunc(c.ServerGroups, func(g *ServerGroup) bool { return g.Name == vs.Group }) {
			return false
		}
		r.say(Warning, vs.Pos, "virtual_server %v: there is no virtual_server_group of that name; it is ignored", vs)
		return true
	})
	r.claim()
	for _, vs := range c.VirtualServers {
		if vs.Disabled == "" {
			r.serversNeed(vs)
		}
	}
	r.crossMarks()
	r.resolveSync()
}

// serversNeed tells what the hosts of real servers need, which only their administrators
// can see to.
func (r *reader) serversNeed(vs *VirtualServer) {
	vip := "the address"
	if vs.Addr.IsValid() {
		vip = vs.Addr.Addr().String()
	}
	quiet := "must not answer ARP for it: net.ipv4.conf.all.arp_ignore=1 and arp_announce=2"
	if vs.family() == 6 {
		quiet = "must not announce it"
	}
	needs := map[string]string{
		"DR":  fmt.Sprintf("with DR every real server must have %s on lo (or a dummy) and %s", vip, quiet),
		"TUN": fmt.Sprintf("with TUN every real server must have %s on its tunnel interface, rp_filter=0 there, and %s", vip, quiet),
		"NAT": "with NAT the answers of every real server must come back through this host: its route to the clients leads here",
	}
	r.say(Notice, vs.Pos, "virtual_server %v: %s", vs, needs[vs.Method.Forwarding])
}

// Timeout is the persistence timeout, 0 for none.
func (p PersistenceTimeout) Timeout() time.Duration { return time.Duration(p) }
