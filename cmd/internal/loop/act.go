package loop

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/ring"
)

// step gives the node one event and carries out what it answers.
func (l *Loop) step(ev node.Event) {
	l.actions = l.Node.Step(l.now, ev, l.actions[:0])
	for _, a := range l.actions {
		l.do(a)
	}
}

func (l *Loop) do(a node.Action) {
	switch a := a.(type) {
	case node.Send:
		l.send(a)
	case node.AddAddress:
		l.flush() // the advertisement leaves before the address comes up (reference: order on becoming MASTER)
		l.address(a.Address, l.Host.AddAddress)
	case node.RemoveAddress:
		l.flush() // and priority 0 before it goes down
		l.address(a.Address, l.Host.RemoveAddress)
	case node.BlockAddresses:
		l.flush()
		l.block(a.Addresses, l.Host.Block)
	case node.UnblockAddresses:
		l.flush()
		l.block(a.Addresses, l.Host.Unblock)
	case node.AddRoute:
		l.flush()
		l.addRoute(a)
	case node.RemoveRoute:
		l.flush()
		l.removeRoute(a)
	case node.AddRule:
		l.flush()
		l.addRule(a)
	case node.RemoveRule:
		l.flush()
		l.removeRule(a)
	case node.Program:
		l.program(a)
	case node.EndProgram:
		l.endProgram(a)
	case node.RunCheck:
		l.check(a)
	case node.RunScript:
		l.script(a.Script)
	case node.SendBFD:
		l.sendBFD(a)
	case node.Notify:
		c := a.Command
		l.notifier.Enqueue(a.Queue, checks.Script{Args: append(c.Args[:len(c.Args):len(c.Args)], a.Extra...), User: c.User, Group: c.GroupWord()})
	case node.Mail:
		if l.Mail != nil {
			l.Mail(checks.Mail{Subject: a.Subject, Body: a.Body})
		}
	case node.Line:
		if l.Tell != nil {
			l.Tell(a.VRRP, a.Text)
		}
	default:
		l.report(a)
	}
}

// send queues a frame of the node's on the control socket of its port, or on the
// service socket where that frame waited for its neighbour.
func (l *Loop) send(a node.Send) {
	head := a.Head
	p := l.Ports[a.Port].Service
	if head == nil {
		head = make([]byte, ring.VNetLen)
		p = l.Ports[a.Port].Control
	}
	l.queue(p, append(head, a.Frame...))
}

func (l *Loop) address(a config.Address, change func(kernel.Address) error) {
	err := change(addressOf(a))
	if err != nil {
		l.Log.Error("address not changed", "vip", a.Prefix, "iface", a.Device, "err", err)
	}
}

func (l *Loop) block(list []config.Address, change func([]kernel.Address) error) {
	var addrs []kernel.Address
	for _, a := range list {
		addrs = append(addrs, addressOf(a))
	}
	if err := change(addrs); err != nil {
		l.Log.Error("packets to virtual addresses not dropped as no_accept asks", "err", err)
	}
}

// addressOf puts an address of the configuration into the kernel's terms. What IPv6 alone
// has is left out of an IPv4 address, as keepalived does.
func addressOf(a config.Address) kernel.Address {
	k := kernel.Address{
		Interface: a.Device, Prefix: a.Prefix, Label: a.Label, Scope: uint8(a.Scope), Broadcast: a.Broadcast.Addr, Peer: a.Peer, DAD: a.NoDAD,
	}
	six := a.Prefix.Addr().Is6()
	for _, f := range []struct {
		flag uint32
		on   bool
	}{
		{kernel.HomeAddress, a.Home && six}, {kernel.ManageTemp, a.MngTmpAddr && six},
		{kernel.NoPrefixRoute, a.NoPrefixRoute}, {kernel.MulticastJoins, a.AutoJoin},
	} {
		if f.on {
			k.Flags |= f.flag
		}
	}
	if a.PreferredLft.Written && six {
		seconds := a.PreferredLft.Seconds
		if a.PreferredLft.Forever {
			seconds = kernel.Forever
		}
		k.Preferred = &seconds
	}
	return k
}

// script runs one tracking script in a goroutine of its own.
func (l *Loop) script(id int) {
	c, run := l.Node.Script(id), l.running
	go func() {
		exit := checks.Script{Args: c.Script.Args, User: c.User, Group: c.GroupWord(), Timeout: c.Timeout}.Run(run.ctx)
		if run.ctx.Err() == nil {
			run.post(node.ScriptDone{Script: id, OK: exit.OK(), Reason: exit.String()})
		}
	}()
}

// notified hears of every notification script that ended.
func (l *Loop) notified(d checks.Done) {
	if !d.Exit.OK() {
		l.Log.Warn("notification script failed", "instance", d.Queue, "script", strings.Join(d.Script.Args, " "), "reason", d.Exit.String())
	}
}

// report logs what an operator acts on, one line an event. Transitions use the
// words that operators of keepalived look for.
func (l *Loop) report(a node.Action) {
	switch a := a.(type) {
	case node.Changed:
		l.Log.Info(transition(a), "instance", a.Instance, "vrid", a.VRID, "priority", a.Priority,
			"from", a.From.String(), "to", a.To.String(), "reason", a.Cause.String())
	case node.GroupChanged:
		l.Log.Info(fmt.Sprintf("VRRP_Group(%s) Syncing instances to %s state", a.Group, a.State))
	case node.PriorityChanged:
		l.Log.Info(fmt.Sprintf("(%s) Changing effective priority from %d to %d", a.Instance, a.From, a.To), "instance", a.Instance)
	case node.Late:
		l.Log.Warn("advertisement late", "instance", a.Instance, "vrid", a.VRID, "reason", fmt.Sprintf(
			"%v after its time, %d others since the last such line: backups take over when this exceeds two intervals; the process gets too little time", a.By, a.More))
	case node.Refused:
		l.Log.Warn("advertisement refused", "instance", a.Instance, "vrid", a.VRID, "iface", a.Interface, "src", a.Src, "reason", a.Verdict.String()+": "+a.Why)
	case node.Remarked:
		l.Log.Warn("advertisement accepted with a remark", "instance", a.Instance, "vrid", a.VRID, "src", a.Src, "reason", node.Advice(a.Remarks))
	case node.Tally:
		l.Log.Info("advertisements refused or remarked since the start", "instance", a.Instance, "iface", a.Interface, "reason", a.String())
	case node.ServerChanged:
		l.Log.Info(serverWords(a), "vs", a.Service, "rs", a.Server, "reason", a.Reason)
	case node.QuorumChanged:
		l.Log.Info(quorumWords(a), "vs", a.Service, "sorry", a.Sorry)
	case node.Steered:
		l.Log.Info(steerWords[a.To], "vs", a.Service, "rs", serverOrAll(a.Server), "reason", "an operator")
	case node.Evicted:
		l.Log.Info("all connections end", "vs", a.Service, "rs", serverOrAll(a.Server), "reason", "an operator")
	case node.CheckChanged:
		l.reportCheck(a)
	case node.CheckFailed:
		l.Log.Info("check failed, to be tried again", "vs", a.Service, "rs", a.Server, "check", a.Check.Pos.String(), "reason", a.Reason)
	case node.CheckSuspended:
		l.Log.Info(fmt.Sprintf("%s healthchecker for service %s for VS %s", suspendWord(a), a.Name, a.Service))
	case node.WeightChanged:
		l.Log.Info(fmt.Sprintf("Changing weight from %d to %d for %s service %s of VS %s", a.From, a.To, active(a.Active), a.Name, a.Service))
	case node.ScriptChanged:
		words := "failed"
		if a.Up {
			words = "succeeded"
		}
		l.Log.Info(fmt.Sprintf("VRRP_Script(%s) %s", a.Script, words), "reason", a.Reason)
	case node.FileChanged:
		l.Log.Info(fmt.Sprintf("track_file %s says %d", a.File, a.Value))
	case node.QuorumOfProcess:
		words := "lost"
		if a.Up {
			words = "gained"
		}
		l.Log.Info(fmt.Sprintf("Quorum %s for tracked process %s", words, a.Process), "reason", fmt.Sprintf("%d running", a.Count))
	case node.BFDChanged:
		l.reportBFD(a)
	case node.BFDRefused:
		l.Log.Warn("BFD packet refused", "session", a.Session, "src", a.From, "reason", a.Why)
	case node.Restored:
		if a.Instance == "" {
			l.Log.Warn("static address removed by another program, put back", "vip", a.Addr)
			return
		}
		l.Log.Warn("virtual address removed by another program, put back", "instance", a.Instance, "vip", a.Addr)
	case node.IPVSFailed:
		if a.Reason == "" {
			l.Log.Info("the kernel's IPVS is as it is to be again")
			return
		}
		l.Log.Error("the kernel's IPVS is not as it is to be: its virtual servers may not be served", "reason", a.Reason)
	case node.IPVSRestored:
		l.Log.Warn("the kernel's IPVS was changed by another program, put back", "command", "ipvsadm "+a.Command)
	case node.Unreachable:
		l.Log.Warn("no interface has a network that holds this address", "rs", a.Addr)
	default:
		panic(fmt.Sprintf("loop: unknown action %T", a))
	}
}

func transition(a node.Changed) string {
	state := a.To.String()
	if a.To == fsm.Init {
		return fmt.Sprintf("(%s) Stopped", a.Instance)
	}
	return fmt.Sprintf("(%s) Entering %s STATE", a.Instance, state)
}

func serverWords(a node.ServerChanged) string {
	switch {
	case a.Up && a.Inhibit:
		return "Enabling service"
	case a.Up:
		return "Adding service"
	case a.Inhibit:
		return "Disabling service"
	}
	return "Removing service"
}

// quorumWords are keepalived's, with its sums.
func quorumWords(a node.QuorumChanged) string {
	if a.Up {
		return fmt.Sprintf("Gained quorum %d+%d=%d <= %d for VS %s", a.Quorum, a.Hysteresis, a.Quorum+a.Hysteresis, a.Weight, a.Service)
	}
	return fmt.Sprintf("Lost quorum %d-%d=%d > %d for VS %s", a.Quorum, a.Hysteresis, a.Quorum-a.Hysteresis, a.Weight, a.Service)
}

// WallClock is CLOCK_REALTIME as the time since 1970.
func WallClock() time.Duration { return time.Duration(time.Now().UnixNano()) }

var steerWords = map[forward.Steering]string{
	forward.Serve: "takes new flows", forward.Drain: "drained: takes no new flows", forward.Fail: "fails: takes no flows, and those that are there end",
}

// serverOrAll is what stands in the log for a server, the zero one meaning all.
func serverOrAll(a netip.AddrPort) string {
	if a.IsValid() {
		return a.String()
	}
	return "all"
}
