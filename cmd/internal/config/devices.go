package config

import "slices"

// Devices lists the interfaces that static addresses, and routes and rules of all kinds,
// need, but for the loopback.
func (c *Config) Devices() []string {
	var list []string
	add := func(name string) {
		if name != "" && name != "lo" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	all := func(routes Routes, rules Rules) {
		for i := range routes {
			add(routes[i].Device)
			for _, h := range routes[i].NextHops {
				add(h.Device)
			}
		}
		for i := range rules {
			add(rules[i].IIF)
			add(rules[i].OIF)
		}
	}
	for _, a := range c.StaticAddresses {
		if add(a.Device); a.Device == "" {
			add(c.Global.DefaultInterface)
		}
	}
	all(c.StaticRoutes, c.StaticRules)
	for _, in := range c.Instances {
		if in.Disabled == "" {
			all(in.Routes, in.Rules)
		}
	}
	return list
}

// Interfaces lists every interface that the VRRP part of the file and packet_mark name.
func (c *Config) Interfaces() []string {
	list := c.Devices()
	add := func(name string) {
		if name != "" && name != "lo" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	for _, in := range c.Instances {
		if in.Disabled != "" {
			continue
		}
		add(in.Interface)
		for _, a := range slices.Concat(in.Addresses, in.Excluded) {
			add(a.Device)
		}
		for _, t := range in.TrackInterfaces {
			add(t.Name)
		}
	}
	for _, m := range c.Global.PacketMarks {
		add(m.Interface)
	}
	for _, g := range c.SyncGroups {
		for _, t := range g.TrackInterfaces {
			add(t.Name)
		}
	}
	return list
}

// Needs lists the interfaces that the instance tracks without being told: those of its
// addresses, routes and rules, and of the static ones that a track_group ties to it, but
// for the own and what no_track is written for. Losing one is a FAULT.
func (in *Instance) Needs() []string {
	var list []string
	add := func(name string, free bool) {
		told := in.TrackInterfaces.has(name) || slices.Contains(list, name)
		if name != "" && name != "lo" && name != in.Interface && !free && !told {
			list = append(list, name)
		}
	}
	for _, a := range slices.Concat(in.Addresses, in.Excluded) {
		add(a.Device, a.NoTrack)
	}
	for i := range in.Routes {
		add(in.Routes[i].Device, in.Routes[i].NoTrack)
	}
	for i := range in.Rules {
		add(in.Rules[i].IIF, in.Rules[i].NoTrack)
	}
	for _, name := range in.grouped {
		add(name, false)
	}
	return list
}
