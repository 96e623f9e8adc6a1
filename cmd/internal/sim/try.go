package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/netlab"
)

// File is a configuration as somebody wrote it.
type File struct {
	Name string
	Text []byte
}

// Finding is what one fault did to one virtual router.
type Finding struct {
	Fault, Router string
	Before, After string        // the MASTER, by node; "" for none
	Silence       time.Duration // of advertisements when the MASTER changed, -1 if it did not
	Back          string        // the MASTER when the fault was over
	Remark        string        // what surprises: an invariant that was hurt
}

// trials are the standard faults, and what ends each. NODE is the one they are done to.
var trials = []struct{ name, begin, end string }{
	{"power loss of NODE", "crash NODE", "up NODE"},
	{"clean stop of NODE", "stop NODE", "up NODE"},
	{"process of NODE killed", "kill NODE", "up NODE"},
	{"link of NODE down", "link NODE down", "link NODE up"},
	{"NODE stands still", "freeze NODE", "thaw NODE"},
	{"NODE cut off", "partition NODE | REST", "heal"},
}

// Try plays the standard faults on every node of a set of files, in virtual time.
func Try(files []File) (head string, findings []Finding, err error) {
	if head, err = Scenario(files); err != nil {
		return "", nil, err
	}
	var text strings.Builder
	text.WriteString(head)
	var names []string
	for i, f := range files {
		names = append(names, NodeName(f.Name, i))
		fmt.Fprintf(&text, "-- %s.conf --\n%s\n", names[i], f.Text)
	}
	s, err := netlab.Parse("try", []byte(text.String()))
	if err != nil {
		return "", nil, err
	}
	for _, t := range trials {
		for _, name := range names {
			rest := strings.Join(slices.DeleteFunc(append(slices.Clone(names), "client"), func(n string) bool { return n == name }), " ")
			fill := strings.NewReplacer("NODE", name, "REST", rest)
			findings = append(findings, trial(s, names, fill.Replace(t.name), strings.Fields(fill.Replace(t.begin)), strings.Fields(fill.Replace(t.end)))...)
		}
	}
	return head, findings, nil
}

// trial plays one fault: the election, the fault for a while, its end for a while.
func trial(s *netlab.Scenario, names []string, fault string, begin, end []string) []Finding {
	w := newWorld(s, Options{Seed: 1})
	p := &player{world: w, result: &Result{}}
	var findings []Finding
	remark := ""
	if err := p.prepare(); err != nil {
		return []Finding{{Fault: fault, Remark: err.Error()}}
	}
	settle := p.settle()
	steps := [][]string{append([]string{"up"}, names...), {"run", settle.String()}, {"mark"}, begin, {"run", settle.String()}}
	play := func(steps [][]string) {
		for _, words := range steps {
			if err := p.execute(words); err != nil && remark == "" {
				remark = err.Error()
			}
			if p.failure != nil && remark == "" {
				remark = p.failure.Error()
			}
			p.failure = nil
		}
	}
	play(steps[:2])
	before := p.masters()
	play(steps[2:])
	after := p.masters()
	for i := range after {
		after[i].Fault, after[i].Before = fault, before[i].After
		vrid := after[i].vrid
		if e := netlab.ForVRID(vrid, p.observer.elections); e != nil && begin[0] != "partition" {
			after[i].Silence = e.silence
		}
	}
	play([][]string{end, {"run", settle.String()}})
	for i, back := range p.masters() {
		after[i].Back, after[i].Remark = back.After, remark
		if after[i].Remark == "" {
			after[i].Remark = after[i].unreached
		}
		findings = append(findings, after[i].Finding)
	}
	return findings
}

// settle is how long an election takes at most.
func (p *player) settle() time.Duration {
	longest := time.Second
	for _, h := range p.order {
		if h.dir == nil {
			continue
		}
		for _, in := range h.dir.cfg.Instances {
			longest = max(longest, 6*in.AdvertInterval+in.PreemptDelay+h.dir.cfg.Global.StartupDelay)
		}
	}
	return longest + 4*time.Second
}

// router is a finding and the VRID it is about.
type router struct {
	Finding
	vrid      uint8
	unreached string // what the client cannot reach although somebody is MASTER
}

// masters lists who is MASTER of every VRID.
func (p *player) masters() []router {
	var list []router
	for _, h := range p.order {
		if h.dir == nil {
			continue
		}
		for _, in := range h.dir.cfg.Instances {
			i := slices.IndexFunc(list, func(r router) bool { return r.vrid == in.VRID })
			if i < 0 {
				list = append(list, router{Finding: Finding{Router: fmt.Sprintf("%s (VRID %d)", in.Name, in.VRID), Silence: -1}, vrid: in.VRID})
				i = len(list) - 1
			}
			if h.dir.alive && h.dir.states[in.Name] == "MASTER" {
				list[i].After = strings.TrimPrefix(list[i].After+" and "+h.name, " and ")
				list[i].unreached = p.unreached(h, in)
			}
		}
	}
	return list
}

// unreached says what is wrong with the addresses of a MASTER while the network is whole:
// another host has one too, or the client has no way to it.
func (p *player) unreached(master *host, in *config.Instance) string {
	if p.network.Faulty() {
		return ""
	}
	for _, a := range in.Addresses {
		vip := a.Prefix.Addr()
		for _, h := range p.order {
			if h != master && master.announces(vip) && h.announces(vip) && h.nics[0].linkUp {
				return fmt.Sprintf("%s still has %v, and answers for it", h.name, vip)
			}
		}
		if master.announces(vip) && p.hosts["client"].reach(vip) != master {
			return fmt.Sprintf("nobody reaches %v at %s: it is in another network", vip, master.name)
		}
	}
	return ""
}
