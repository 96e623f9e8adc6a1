package node

import (
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

// group is a sync group with the instances of this host that are its members.
type group struct {
	cfg     *config.SyncGroup
	fsm     *fsm.Group
	members []int // in the order of the file
	acts    []fsm.GroupAction
	queue   string // of its notification scripts
	mailed  string // the state of the last mail
}

// addGroups makes the sync groups of those members that can be started.
func (n *Node) addGroups() {
	for _, c := range n.cfg.SyncGroups {
		g := group{cfg: c, queue: "group " + c.Name}
		var members []*fsm.Instance
		for i := range n.instances {
			in := &n.instances[i]
			if !slices.Contains(c.Members, in.cfg.Name) {
				continue
			}
			in.group, in.member = len(n.groups), len(members)
			g.members, members = append(g.members, i), append(members, in.fsm)
		}
		if len(members) > 0 {
			g.fsm = fsm.NewGroup(c.Name, members)
			n.groups = append(n.groups, g)
		}
	}
}

// tracks is what an instance tracks.
type tracks struct{ interfaces, scripts, files, processes, bfds config.Tracks }

// tracksOf is what an instance tracks itself and, as every member, for its group
// (reference 3.3). What both name counts once, as the member has it.
func (n *Node) tracksOf(c *config.Instance) tracks {
	t := tracks{c.TrackInterfaces, c.TrackScripts, c.TrackFiles, c.TrackProcesses, c.TrackBFDs}
	for _, g := range n.cfg.SyncGroups {
		if slices.Contains(g.Members, c.Name) {
			t.interfaces, t.scripts = joined(t.interfaces, g.TrackInterfaces), joined(t.scripts, g.TrackScripts)
			t.files, t.processes = joined(t.files, g.TrackFiles), joined(t.processes, g.TrackProcesses)
			t.bfds = joined(t.bfds, g.TrackBFDs)
		}
	}
	return t
}

// joined is own and those of the group that are not in it.
func joined(own, group config.Tracks) config.Tracks {
	list := slices.Clone(own)
	for _, t := range group {
		if !slices.ContainsFunc(own, func(o config.Track) bool { return o.Name == t.Name }) {
			list = append(list, t)
		}
	}
	return list
}

func (n *Node) startGroup(now time.Duration, i int) {
	g := &n.groups[i]
	for _, m := range g.members {
		n.prepareInstance(now, m)
	}
	g.acts = g.fsm.Start(now, g.acts[:0])
	n.carryGroup(g)
}

// stepGroup drives the group of an instance that something happened to.
func (n *Node) stepGroup(now time.Duration, i, member int, ev fsm.Event) {
	g := &n.groups[i]
	g.acts = g.fsm.Step(now, member, ev, g.acts[:0])
	n.carryGroup(g)
}

func (n *Node) carryGroup(g *group) {
	for _, a := range g.acts {
		if a.Member != fsm.Whole {
			n.act(&n.instances[g.members[a.Member]], a.Action)
			continue
		}
		switch a := a.Action.(type) {
		case fsm.Changed:
			n.emit(GroupChanged{g.cfg.Name, a.To})
		case fsm.Notify:
			n.notifyGroup(g, a.State.String())
		}
	}
	for _, m := range g.members {
		n.waitFor(&n.instances[m])
	}
}

// notifyGroup runs the group's scripts. The priority of a group is 0 (reference 4.2).
func (n *Node) notifyGroup(g *group, state string) {
	specific := map[string]*config.Command{
		"MASTER": g.cfg.NotifyMaster, "BACKUP": g.cfg.NotifyBackup, "FAULT": g.cfg.NotifyFault, "STOP": g.cfg.NotifyStop,
	}[state]
	if specific != nil {
		n.emit(Notify{Queue: g.queue, Command: specific})
	}
	if g.cfg.Notify != nil {
		n.emit(Notify{Queue: g.queue, Command: g.cfg.Notify, Extra: []string{"GROUP", g.cfg.Name, state, "0"}})
	}
	n.tell(true, "GROUP %q %s 0", g.cfg.Name, state)
	n.mailGroup(g, state)
}
