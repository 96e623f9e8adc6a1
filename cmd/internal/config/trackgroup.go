package config

import "slices"

// resolveTrackGroups gives the instances of the groups the interfaces of the static
// entries that name them. Groups are written above these, instances below.
func (r *reader) resolveTrackGroups() {
	c := r.cfg
	c.TrackGroups = unique(r, "track_group", c.TrackGroups, func(g *TrackGroup) string { return g.Name }, func(g *TrackGroup) Pos { return g.Pos })
	for _, g := range c.TrackGroups {
		g.Members = slices.DeleteFunc(g.Members, func(name string) bool {
			missing := c.instance(name) == nil
			if missing {
				r.say(Warning, g.At("group"), "track_group %s: there is no vrrp_instance %s; it is ignored", g.Name, name)
			}
			return missing
		})
	}
	for i := range c.StaticAddresses {
		a := &c.StaticAddresses[i]
		iface := a.Device
		if iface == "" {
			iface = c.Global.DefaultInterface
		}
		r.resolveTrackGroup(a.Pos, &a.TrackGroup, iface, "", a.NoTrack)
	}
	for i := range c.StaticRoutes {
		t := &c.StaticRoutes[i]
		r.resolveTrackGroup(t.Pos, &t.TrackGroup, t.Device, "dev", t.NoTrack)
	}
	for i := range c.StaticRules {
		u := &c.StaticRules[i]
		r.resolveTrackGroup(u.Pos, &u.TrackGroup, u.IIF, "iif", u.NoTrack)
	}
}

// resolveTrackGroup looks after the track_group of one static entry, whose interface is
// given with the keyword named by.
func (r *reader) resolveTrackGroup(at Pos, name *string, iface, by string, free bool) {
	if *name == "" {
		return
	}
	i := slices.IndexFunc(r.cfg.TrackGroups, func(g *TrackGroup) bool { return g.Name == *name })
	switch {
	case i < 0 || !before(r.cfg.TrackGroups[i].Pos, at):
		r.say(Warning, at, "track_group %s: there is no such track_group above; it is ignored", *name)
		*name = ""
	case iface == "":
		r.say(Warning, at, "track_group %s: the line has no %s, so there is no interface to track; it is ignored", *name, by)
		*name = ""
	case !free:
		for _, member := range r.cfg.TrackGroups[i].Members {
			in := r.cfg.instance(member)
			in.grouped = append(in.grouped, iface)
		}
	}
}
