package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

func (r *reader) script(s *stmt) {
	if s.arg(0) == "" {
		r.say(Warning, s.pos(), "vrrp_script without a name; it is ignored")
		return
	}
	sc := &Script{Pos: s.pos(), Name: s.arg(0), Interval: time.Second, Rise: 1, Fall: 1, User: r.cfg.Global.ScriptUser, Group: r.cfg.Global.ScriptGroup}
	walk(r, "vrrp_script", s.block, scriptTable(), sc)
	if sc.Timeout == 0 {
		sc.Timeout = sc.Interval
	}
	if len(sc.Args) == 0 {
		r.say(Warning, s.pos(), "vrrp_script %s: has no script; it is ignored", sc.Name)
		return
	}
	r.cfg.Scripts = append(r.cfg.Scripts, sc)
}

func scriptTable() table[*Script] {
	return table[*Script]{
		"script": func(r *reader, s *stmt, v *Script) {
			if c := r.command(s); c != nil {
				v.Args = c.Args
				if c.User != "" {
					v.User, v.Group = c.User, c.Group
				}
			}
		},
		"interval": setSeconds(0.001, maxSeconds, func(v *Script) *time.Duration { return &v.Interval }),
		"timeout":  setSeconds(0.001, maxSeconds, func(v *Script) *time.Duration { return &v.Timeout }),
		"rise":     setNumber(1, 1<<30, func(v *Script) *int { return &v.Rise }),
		"fall":     setNumber(1, 1<<30, func(v *Script) *int { return &v.Fall }),
		"weight": func(r *reader, s *stmt, v *Script) {
			if n, ok := r.number(s, -254, 254); ok {
				v.Weight, v.Reverse = max(-253, min(253, n)), s.arg(1) == "reverse"
			}
		},
		"user": func(r *reader, s *stmt, v *Script) {
			if t, ok := r.text(s); ok {
				v.User, v.Group = t, s.arg(1)
			}
		},
		"init_fail": setFlag(func(v *Script) *bool { return &v.InitFail }),
	}
}

// instanceReader holds what a vrrp_instance says until its defaults can be resolved.
type instanceReader struct {
	*Instance
	priority, vrid int
	interval       time.Duration
	at             map[string]Pos // where a keyword stands
	authPass       string
	strict         bool
}

func (r *reader) instance(s *stmt) {
	g := &r.cfg.Global
	in := &instanceReader{at: map[string]Pos{}, interval: time.Second, strict: g.Strict, Instance: &Instance{
		Pos: s.pos(), Name: s.arg(0), Version: g.Version,
		GARPMasterDelay: g.GARPMasterDelay, GARPMasterRepeat: g.GARPMasterRepeat,
		GARPMasterRefresh: g.GARPMasterRefresh, GARPMasterRefreshRepeat: g.GARPMasterRefreshRepeat,
		GARPLowerPrioDelay: g.GARPLowerPrioDelay, GARPLowerPrioRepeat: g.GARPLowerPrioRepeat,
		DownTimerAdverts: g.DownTimerAdverts, StartupDelay: g.StartupDelay,
		LowerPrioNoAdvert: g.LowerPrioNoAdvert, HigherPrioSendAdvert: g.HigherPrioSendAdvert, SkipCheckAdvAddr: g.SkipCheckAdvAddr,
	}}
	if in.Name == "" {
		r.say(Error, s.pos(), "vrrp_instance without a name")
		return
	}
	for i := range s.block {
		if k := s.block[i].keyword(); in.at[k] == (Pos{}) {
			in.at[k] = s.block[i].pos()
		}
	}
	walk(r, "vrrp_instance", s.block, instanceTable(), in)
	if in.Interface == "" {
		r.say(Error, s.pos(), "vrrp_instance %s: has no interface: add \"interface eth0\"", in.Name)
	}
	if in.vrid == 0 {
		r.say(Error, s.pos(), "vrrp_instance %s: has no virtual_router_id: add one from 1 to 255", in.Name)
	}
	in.VRID = uint8(in.vrid)
	if len(in.Addresses)+len(in.Excluded) == 0 {
		r.say(Warning, s.pos(), "vrrp_instance %s: has no virtual_ipaddress", in.Name)
	}
	in.resolve(r)
	r.cfg.Instances = append(r.cfg.Instances, in.Instance)
}

// resolve applies keepalived's defaults and corrections, in its order.
func (in *instanceReader) resolve(r *reader) {
	switch {
	case in.priority > 0:
	case in.State == "MASTER":
		in.priority = 255
	default:
		in.priority = 100
	}
	in.Priority = uint8(in.priority)
	if in.State == "" {
		in.State = "BACKUP"
		if in.Priority == 255 {
			in.State = "MASTER"
		}
	}
	in.resolveInterval(r)
	in.resolveAuth(r)
	in.resolvePreempt(r)
	if in.strict {
		in.resolveStrict(r)
	}
	if r.cfg.Global.MinGARP {
		in.GARPMasterRepeat, in.GARPMasterDelay = 1, 0
	}
	if in.GARPLowerPrioDelay < 0 {
		in.GARPLowerPrioDelay = in.GARPMasterDelay
	}
	if in.GARPLowerPrioRepeat < 0 {
		in.GARPLowerPrioRepeat = in.GARPMasterRepeat
	}
	if in.UnicastSource.IsValid() && len(in.UnicastPeers) == 0 {
		r.say(Warning, in.at["unicast_src_ip"], "unicast_src_ip without unicast_peer: advertisements go to the multicast group")
	}
}

// resolveInterval rounds as keepalived does: version 2 knows whole seconds, version 3
// hundredths up to 40.95 s.
func (in *instanceReader) resolveInterval(r *reader) {
	unit, most := time.Second, 255*time.Second
	if in.Version == 3 {
		unit, most = 10*time.Millisecond, 4095*10*time.Millisecond
	}
	in.AdvertInterval = min(most, max(unit, in.interval.Round(unit)))
	if in.AdvertInterval != in.interval {
		r.say(Warning, in.at["advert_int"], "advert_int %v: version %d takes steps of %v up to %v; it becomes %v",
			in.interval, in.Version, unit, most, in.AdvertInterval)
	}
}

func (in *instanceReader) resolveAuth(r *reader) {
	p := in.at["authentication"]
	switch in.AuthType {
	case "":
		return
	case "AH":
		r.say(Error, p, "auth_type AH: not available in this version: use PASS")
	case "PASS":
	default:
		in.AuthType = ""
		return
	}
	if in.authPass == "" {
		r.say(Warning, p, "authentication without auth_pass; it is ignored")
		in.AuthType = ""
		return
	}
	if in.Version == 3 {
		r.say(Warning, p, "version 3 has no authentication; it is ignored")
		in.AuthType = ""
		return
	}
	in.AuthPass = in.authPass
	if len(in.AuthPass) > 8 {
		in.AuthPass = in.AuthPass[:8]
		r.say(Warning, in.at["auth_pass"], "auth_pass %q: only its first 8 bytes count: %q", in.authPass, in.AuthPass)
	}
}

func (in *instanceReader) resolvePreempt(r *reader) {
	switch {
	case in.NoPreempt && in.State == "MASTER":
		r.say(Warning, in.at["nopreempt"], "nopreempt has no effect beside \"state MASTER\": the address comes back to this node; write \"state BACKUP\" on both nodes")
		in.NoPreempt = false
	case in.NoPreempt && in.Priority == 255:
		r.say(Warning, in.at["nopreempt"], "nopreempt has no effect with priority 255")
		in.NoPreempt = false
	}
	if in.PreemptDelay > 0 && (in.State == "MASTER" || in.NoPreempt) {
		r.say(Warning, in.at["preempt_delay"], "preempt_delay has no effect beside \"state MASTER\" or nopreempt")
		in.PreemptDelay = 0
	}
}

// resolveStrict is what vrrp_strict forbids. The drop of packets to the address is
// said here, because people look for it everywhere else.
func (in *instanceReader) resolveStrict(r *reader) {
	in.Strict = true
	if in.AuthType != "" {
		r.say(Warning, in.at["authentication"], "vrrp_strict forbids authentication; it is ignored")
		in.AuthType, in.AuthPass = "", ""
	}
	if len(in.UnicastPeers) > 0 {
		r.say(Warning, in.at["unicast_peer"], "vrrp_strict forbids unicast peers; they are ignored")
		in.UnicastPeers = nil
	}
	if in.PreemptDelay > 0 {
		r.say(Warning, in.at["preempt_delay"], "vrrp_strict forbids preempt_delay; it is ignored")
		in.PreemptDelay = 0
	}
	in.DownTimerAdverts, in.GARPLowerPrioRepeat, in.GARPLowerPrioDelay = 3, 0, 0
	in.LowerPrioNoAdvert, in.HigherPrioSendAdvert = true, false
	r.say(Notice, in.Pos, "vrrp_strict: keepalived drops packets to the virtual address of %s unless its priority is 255 (it cannot be pinged); this version leaves them alone", in.Name)
}

func instanceTable() table[*instanceReader] {
	return table[*instanceReader]{
		"state": func(r *reader, s *stmt, v *instanceReader) {
			switch s.arg(0) {
			case "MASTER", "BACKUP":
				v.State = s.arg(0)
			default:
				r.say(Warning, s.argPos(0), "state %q: must be MASTER or BACKUP; the line is ignored", s.arg(0))
			}
		},
		"interface": func(r *reader, s *stmt, v *instanceReader) {
			if t, ok := r.text(s); ok {
				v.Interface, v.InterfacePos = t, s.argPos(0)
			}
		},
		"virtual_router_id": setNumber(1, 255, func(v *instanceReader) *int { return &v.vrid }),
		"priority":          setNumber(1, 255, func(v *instanceReader) *int { return &v.priority }),
		"version":           setNumber(2, 3, func(v *instanceReader) *uint8 { return &v.Version }),
		"advert_int":        setSeconds(0.01, 255, func(v *instanceReader) *time.Duration { return &v.interval }),
		"authentication": func(r *reader, s *stmt, v *instanceReader) {
			walk(r, "vrrp_instance/authentication", s.block, authTable(), v)
		},
		"virtual_ipaddress": func(r *reader, s *stmt, v *instanceReader) {
			v.Addresses = append(v.Addresses, r.addresses(s)...)
		},
		"virtual_ipaddress_excluded": func(r *reader, s *stmt, v *instanceReader) {
			v.Excluded = append(v.Excluded, r.addresses(s)...)
		},
		"nopreempt":     setFlag(func(v *instanceReader) *bool { return &v.NoPreempt }),
		"preempt":       func(_ *reader, _ *stmt, v *instanceReader) { v.NoPreempt = false },
		"preempt_delay": setSeconds(0, 1000, func(v *instanceReader) *time.Duration { return &v.PreemptDelay }),
		"mcast_src_ip": func(r *reader, s *stmt, v *instanceReader) {
			if a, ok := r.addr(s, 0); ok {
				v.McastSource = a
			}
		},
		"unicast_src_ip": func(r *reader, s *stmt, v *instanceReader) {
			if a, ok := r.addr(s, 0); ok {
				v.UnicastSource = a
			}
		},
		"unicast_peer": func(r *reader, s *stmt, v *instanceReader) {
			for i := range s.block {
				if a, err := netip.ParseAddr(s.block[i].keyword()); err != nil {
					r.say(Warning, s.block[i].pos(), "unicast_peer %s: must be an IP address; the line is ignored", s.block[i].keyword())
				} else if !slices.Contains(v.UnicastPeers, a) {
					v.UnicastPeers = append(v.UnicastPeers, a)
				}
			}
		},
		"track_interface": func(r *reader, s *stmt, v *instanceReader) {
			v.TrackInterfaces = append(v.TrackInterfaces, r.tracks(s, nil)...)
		},
		"track_script": func(r *reader, s *stmt, v *instanceReader) {
			v.TrackScripts = append(v.TrackScripts, r.tracks(s, r.cfg.Scripts)...)
		},
		"dont_track_primary":         setFlag(func(v *instanceReader) *bool { return &v.DontTrackPrimary }),
		"garp_master_delay":          setSeconds(0, maxSeconds, func(v *instanceReader) *time.Duration { return &v.GARPMasterDelay }),
		"garp_master_repeat":         setNumber(1, 255, func(v *instanceReader) *int { return &v.GARPMasterRepeat }),
		"garp_master_refresh":        setSeconds(0, maxSeconds, func(v *instanceReader) *time.Duration { return &v.GARPMasterRefresh }),
		"garp_master_refresh_repeat": setNumber(1, 255, func(v *instanceReader) *int { return &v.GARPMasterRefreshRepeat }),
		"garp_lower_prio_delay":      setSeconds(0, maxSeconds, func(v *instanceReader) *time.Duration { return &v.GARPLowerPrioDelay }),
		"garp_lower_prio_repeat":     setNumber(0, 255, func(v *instanceReader) *int { return &v.GARPLowerPrioRepeat }),
		"down_timer_adverts":         setNumber(1, 100, func(v *instanceReader) *int { return &v.DownTimerAdverts }),
		"lower_prio_no_advert":       setFlag(func(v *instanceReader) *bool { return &v.LowerPrioNoAdvert }),
		"higher_prio_send_advert":    setFlag(func(v *instanceReader) *bool { return &v.HigherPrioSendAdvert }),
		"skip_check_adv_addr":        setFlag(func(v *instanceReader) *bool { return &v.SkipCheckAdvAddr }),
		"strict_mode":                setFlag(func(v *instanceReader) *bool { return &v.strict }),
		"notify_master":              setCommand(func(v *instanceReader) **Command { return &v.NotifyMaster }),
		"notify_backup":              setCommand(func(v *instanceReader) **Command { return &v.NotifyBackup }),
		"notify_fault":               setCommand(func(v *instanceReader) **Command { return &v.NotifyFault }),
		"notify_stop":                setCommand(func(v *instanceReader) **Command { return &v.NotifyStop }),
		"notify":                     setCommand(func(v *instanceReader) **Command { return &v.Notify }),
	}
}

func authTable() table[*instanceReader] {
	return table[*instanceReader]{
		"auth_type": func(r *reader, s *stmt, v *instanceReader) {
			switch t := s.arg(0); t {
			case "PASS", "AH":
				v.AuthType = t
			default:
				r.say(Warning, s.argPos(0), "auth_type %s: must be PASS or AH; the line is ignored", t)
			}
		},
		"auth_pass": func(r *reader, s *stmt, v *instanceReader) {
			if t, ok := r.text(s); ok {
				v.authPass, v.at["auth_pass"] = t, s.argPos(0)
			}
		},
	}
}

// tracks reads the lines of a track block. The weight of a script is that of its
// definition unless the line has its own.
func (r *reader) tracks(s *stmt, scripts []*Script) []Track {
	var list []Track
	for i := range s.block {
		line := &s.block[i]
		t := Track{Pos: line.pos(), Name: line.keyword()}
		for _, sc := range scripts {
			if sc.Name == t.Name {
				t.Weight, t.Reverse = sc.Weight, sc.Reverse
			}
		}
		for w := 1; w < len(line.words); w++ {
			switch line.words[w].text {
			case "weight":
				if n, ok := r.number(&stmt{words: line.words[w:]}, -254, 254); ok {
					t.Weight = max(-253, min(253, n))
				}
				w++
			case "reverse":
				t.Reverse = true
			case "noreverse":
				t.Reverse = false
			default:
				r.say(Warning, line.words[w].pos, "%s: unknown word in %s; it is ignored", line.words[w].text, s.keyword())
			}
		}
		if slices.ContainsFunc(list, func(o Track) bool { return o.Name == t.Name }) {
			r.say(Warning, t.Pos, "%s is listed twice in %s; this line is ignored", t.Name, s.keyword())
			continue
		}
		list = append(list, t)
	}
	return list
}

// scopes are the names of rt_scopes.
var scopes = map[string]uint8{"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}

func (r *reader) addresses(s *stmt) []Address {
	var list []Address
	for i := range s.block {
		if a, ok := r.address(&s.block[i]); ok {
			list = append(list, a)
		}
	}
	return list
}

// address reads one line of an address block.
func (r *reader) address(s *stmt) (Address, bool) {
	a := Address{Pos: s.pos()}
	var err error
	if a.Prefix, err = parsePrefix(s.keyword()); err != nil {
		r.say(Error, s.pos(), "%v", err)
		return a, false
	}
	if a.Prefix.Addr().Is6() {
		r.say(Error, s.pos(), "%v: IPv6 addresses are not available in this version", a.Prefix)
		return a, false
	}
	for i := 1; i < len(s.words); i += 2 {
		if slices.Contains(addressFlags, s.words[i].text) {
			r.say(Notice, s.words[i].pos, "%s: has no effect in this version", s.words[i].text)
			i--
			continue
		}
		value := s.arg(i)
		if value == "" {
			r.say(Warning, s.words[i].pos, "%s: needs a value; it is ignored", s.words[i].text)
			break
		}
		r.addressOption(&a, s.words[i], value)
	}
	return a, true
}

// addressFlags are options without a value.
var addressFlags = []string{"home", "-nodad", "mngtmpaddr", "noprefixroute", "autojoin", "no_track", "use_vmac"}

func (r *reader) addressOption(a *Address, option token, value string) {
	switch option.text {
	case "dev":
		a.Device = value
	case "label":
		if len(value) > 15 {
			r.say(Warning, option.pos, "label %s: 15 characters at most; it is ignored", value)
			return
		}
		a.Label = value
	case "scope":
		n, ok := scopes[value]
		if !ok {
			r.say(Warning, option.pos, "scope %s: must be global, site, link, host or nowhere; it is ignored", value)
			return
		}
		a.Scope = n
	case "brd", "broadcast":
		b, err := broadcast(a.Prefix, value)
		if err != nil {
			r.say(Warning, option.pos, "%v; it is ignored", err)
			return
		}
		a.Broadcast = b
	default:
		r.unknown("vrrp_instance/virtual_ipaddress", &stmt{words: []token{option}}, []string{"dev", "label", "scope", "brd"})
	}
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%s: must be an address such as 192.0.2.1 or 192.0.2.1/24", s)
	}
	return p, nil
}

// broadcast reads an address, + (host bits one) or - (host bits zero).
func broadcast(p netip.Prefix, value string) (netip.Addr, error) {
	if value != "+" && value != "-" {
		return netip.ParseAddr(value)
	}
	if p.Bits() > 30 {
		return netip.Addr{}, fmt.Errorf("brd %s needs a prefix of /30 or shorter", value)
	}
	b := p.Masked().Addr().As4()
	if value == "+" {
		for i := range b {
			host := max(0, min(8, 8*(i+1)-p.Bits()))
			b[i] |= byte(1<<host - 1)
		}
	}
	return netip.AddrFrom4(b), nil
}
