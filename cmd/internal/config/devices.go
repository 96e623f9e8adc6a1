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
