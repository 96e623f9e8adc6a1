package config

import "time"

func defaultGlobal() Global {
	return Global{
		SMTPConnectTimeout: 30 * time.Second, Version: 2,
		GARPMasterDelay: 5 * time.Second, GARPMasterRepeat: 5, GARPMasterRefreshRepeat: 1,
		GARPLowerPrioDelay: -1, GARPLowerPrioRepeat: -1, DownTimerAdverts: 3,
	}
}

const maxSeconds = 1e9 // keepalived's timers are bounded by their type alone

func setSeconds[T any](lo, hi float64, field func(T) *time.Duration) func(*reader, *stmt, T) {
	return func(r *reader, s *stmt, v T) {
		if d, ok := r.seconds(s, lo, hi); ok {
			*field(v) = d
		}
	}
}

// notYetAbove reads a time of which only 0 is honoured so far.
func notYetAbove(field func(*Global) *time.Duration) func(*reader, *stmt, *Global) {
	return func(r *reader, s *stmt, g *Global) {
		d, ok := r.seconds(s, 0, maxSeconds)
		if !ok {
			return
		}
		if *field(g) = d; d > 0 {
			r.say(Notice, s.argPos(0), "%s: has no effect in this version: all are sent at once", s.keyword())
		}
	}
}

func globalTable() table[*Global] {
	return table[*Global]{
		"router_id": setText(func(g *Global) *string { return &g.RouterID }),
		"notification_email": func(r *reader, s *stmt, g *Global) {
			r.say(Notice, s.pos(), "notification_email: mail is not sent by this version")
			for i := range s.block {
				g.NotificationEmail = append(g.NotificationEmail, s.block[i].keyword())
			}
		},
		"notification_email_from":         setText(func(g *Global) *string { return &g.NotificationEmailFrom }),
		"smtp_server":                     setText(func(g *Global) *string { return &g.SMTPServer }),
		"smtp_connect_timeout":            setSeconds(0, maxSeconds, func(g *Global) *time.Duration { return &g.SMTPConnectTimeout }),
		"vrrp_version":                    setNumber(2, 3, func(g *Global) *uint8 { return &g.Version }),
		"vrrp_strict":                     setFlag(func(g *Global) *bool { return &g.Strict }),
		"vrrp_skip_check_adv_addr":        setFlag(func(g *Global) *bool { return &g.SkipCheckAdvAddr }),
		"vrrp_garp_interval":              notYetAbove(func(g *Global) *time.Duration { return &g.GARPInterval }),
		"vrrp_gna_interval":               notYetAbove(func(g *Global) *time.Duration { return &g.GNAInterval }),
		"vrrp_min_garp":                   setFlag(func(g *Global) *bool { return &g.MinGARP }),
		"vrrp_garp_master_delay":          setSeconds(0, maxSeconds, func(g *Global) *time.Duration { return &g.GARPMasterDelay }),
		"vrrp_garp_master_repeat":         setNumber(1, 255, func(g *Global) *int { return &g.GARPMasterRepeat }),
		"vrrp_garp_master_refresh":        setSeconds(0, maxSeconds, func(g *Global) *time.Duration { return &g.GARPMasterRefresh }),
		"vrrp_garp_master_refresh_repeat": setNumber(1, 255, func(g *Global) *int { return &g.GARPMasterRefreshRepeat }),
		"vrrp_garp_lower_prio_delay":      setSeconds(0, maxSeconds, func(g *Global) *time.Duration { return &g.GARPLowerPrioDelay }),
		"vrrp_garp_lower_prio_repeat":     setNumber(0, 255, func(g *Global) *int { return &g.GARPLowerPrioRepeat }),
		"vrrp_down_timer_adverts":         setNumber(1, 100, func(g *Global) *int { return &g.DownTimerAdverts }),
		"vrrp_startup_delay":              setSeconds(0, maxSeconds, func(g *Global) *time.Duration { return &g.StartupDelay }),
		"vrrp_lower_prio_no_advert":       setFlag(func(g *Global) *bool { return &g.LowerPrioNoAdvert }),
		"vrrp_higher_prio_send_advert":    setFlag(func(g *Global) *bool { return &g.HigherPrioSendAdvert }),
		"enable_script_security":          setFlag(func(g *Global) *bool { return &g.EnableScriptSecurity }),
		"script_user": func(r *reader, s *stmt, g *Global) {
			if t, ok := r.text(s); ok {
				g.ScriptUser, g.ScriptGroup = t, s.arg(1)
			}
		},
	}
}
