package config

import (
	"fmt"
	"slices"
	"strings"
)

// Outcome is what one failure does to a virtual router.
type Outcome struct {
	Router     string   `json:"router"`
	Failure    string   `json:"failure"`        // what fails, "nothing fails" in the first row of a router
	Node       string   `json:"node,omitempty"` // where
	Priorities []string `json:"priorities"`     // the effective priority on each node, FAULT, or - for none
	Master     string   `json:"master"`         // the node that becomes or stays MASTER, "" for none
	Flag       string   `json:"flag,omitempty"` // what is wrong with that
}

// tracker is one thing whose failure an instance notices.
type tracker struct {
	name    string
	weight  int
	reverse bool
}

// Outcomes enumerates what each failure of a tracked interface, script, file, process
// or BFD session does, one at a time, and says which of them never move the addresses.
func Outcomes(files []File) []Outcome {
	var list []Outcome
	for _, v := range routers(files) {
		list = append(list, v.outcomes(files)...)
	}
	return list
}

func (v router) outcomes(files []File) []Outcome {
	base := v.outcome(files, nil)
	base.Failure = "nothing fails"
	list := []Outcome{base}
	for n, in := range v.nodes {
		if in == nil {
			continue
		}
		for _, t := range in.trackers(files[n].Config) {
			o := v.outcome(files, map[int]tracker{n: t})
			o.Failure, o.Node = t.name, files[n].Name
			switch {
			case o.Master == "":
				o.Flag = "no node is MASTER"
			case files[n].Name == base.Master && o.Master == base.Master && o.Priorities[n] == base.Priorities[n]:
				o.Flag = "changes nothing"
			case files[n].Name == base.Master && o.Master == base.Master:
				o.Flag = "never moves the addresses"
			case files[n].Name != base.Master && o.Master != base.Master:
				o.Flag = "a failure on this node moves the addresses of another"
			}
			list = append(list, o)
		}
	}
	return append(list, v.everywhere(files)...)
}

// everywhere is what happens when something that all nodes track fails on all of them:
// a gateway that does not answer.
func (v router) everywhere(files []File) []Outcome {
	failing := map[string]map[int]tracker{}
	var names []string
	for n, in := range v.nodes {
		if in == nil {
			return nil
		}
		for _, t := range in.trackers(files[n].Config) {
			if strings.HasPrefix(t.name, "interface ") {
				continue
			}
			if failing[t.name] == nil {
				failing[t.name] = map[int]tracker{}
				names = append(names, t.name)
			}
			failing[t.name][n] = t
		}
	}
	var list []Outcome
	for _, name := range names {
		if len(v.nodes) < 2 || len(failing[name]) < len(v.nodes) {
			continue
		}
		o := v.outcome(files, failing[name])
		o.Failure, o.Node = name, "every node"
		if o.Master == "" {
			o.Flag = "no node is MASTER"
		}
		list = append(list, o)
	}
	return list
}

// outcome elects a MASTER while one tracker fails on each of the nodes named.
func (v router) outcome(files []File, fails map[int]tracker) Outcome {
	o := Outcome{Router: v.name}
	best := -1
	effective := make([]int, len(v.nodes))
	for i, in := range v.nodes {
		if in == nil || in.Disabled != "" && in.VRID == 0 {
			o.Priorities = append(o.Priorities, "-")
			continue
		}
		var failing *tracker
		if t, ok := fails[i]; ok {
			failing = &t
		}
		p, fault := in.effective(files[i].Config, failing)
		if fault {
			o.Priorities = append(o.Priorities, "FAULT")
			continue
		}
		effective[i] = p
		o.Priorities = append(o.Priorities, fmt.Sprint(p))
		if best < 0 || p > effective[best] {
			best = i
		}
	}
	if best < 0 {
		return o
	}
	o.Master = files[best].Name
	// A MASTER whose priority fell stays where the better node does not preempt.
	if len(fails) > 0 && v.nodes[best].NoPreempt {
		before := v.outcome(files, nil).Master
		for n := range fails {
			if effective[n] > 0 && files[n].Name == before {
				o.Master = before
			}
		}
	}
	return o
}

// trackers lists what the instance tracks, that of its sync group included: what the
// group tracks, and what puts another member into FAULT, and so the group.
func (in *Instance) trackers(c *Config) []tracker {
	list := in.own()
	add := func(more []tracker) {
		for _, t := range more {
			if !slices.ContainsFunc(list, func(o tracker) bool { return o.name == t.name }) {
				list = append(list, t)
			}
		}
	}
	g := c.groupOf(in)
	if g == nil {
		return list
	}
	add(tracked(g.TrackInterfaces, g.TrackScripts, g.TrackProcesses, g.TrackBFDs))
	for _, name := range g.Members {
		if other := c.instance(name); other != nil && other != in {
			add(slices.DeleteFunc(other.own(), func(t tracker) bool { return t.weight != 0 }))
		}
	}
	return list
}

// own lists what the instance itself tracks.
func (in *Instance) own() []tracker {
	list := tracked(in.TrackInterfaces, in.TrackScripts, in.TrackProcesses, in.TrackBFDs)
	for _, name := range in.Needs() {
		list = append(list, tracker{"interface " + name, 0, false})
	}
	if !in.DontTrackPrimary {
		list = slices.Insert(list, 0, tracker{"interface " + in.Interface, 0, false})
	}
	return list
}

func tracked(interfaces, scripts, processes, bfds Tracks) []tracker {
	var list []tracker
	for _, kind := range []struct {
		name   string
		tracks Tracks
	}{{"interface", interfaces}, {"script", scripts}, {"process", processes}, {"bfd", bfds}} {
		for _, t := range kind.tracks {
			list = append(list, tracker{kind.name + " " + t.Name, t.Weight, t.Reverse})
		}
	}
	return list
}

// effective is the priority while one tracker fails (nil: none), and whether that is a FAULT.
func (in *Instance) effective(c *Config, failing *tracker) (priority int, fault bool) {
	total := int(in.Priority)
	for _, t := range in.trackers(c) {
		good := failing == nil || t.name != failing.name
		weight := t.weight
		if t.reverse {
			weight = -weight
		}
		switch {
		case t.weight == 0:
			fault = fault || good == t.reverse
		case t.weight > 0 && good, t.weight < 0 && !good:
			total += weight
		}
	}
	if in.Priority == 255 {
		return 255, fault
	}
	return max(1, min(254, total)), fault
}
