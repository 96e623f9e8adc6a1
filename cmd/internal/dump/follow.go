package dump

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/model"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/cmd/internal/reading"
	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

// Follower is a director that listens beside and sends nothing. All methods of a nil
// Follower do nothing.
type Follower struct {
	model  *model.Model
	reader *reading.Reader
	links  []node.Link
	way    func(p pcap.Packet) (port int, w model.Way)
	lines  []would
	print  func(at time.Duration, text string)
}

// would is something that the director would do, so many times.
type would struct {
	at    time.Duration
	text  string
	times int
}

// Follow makes a follower of a configuration on these links. way tells what a packet is
// to it. The error names the position of a line that cannot work.
func Follow(cfg *config.Config, links []node.Link, way func(p pcap.Packet) (port int, w model.Way)) (*Follower, error) {
	f := &Follower{links: links, way: way}
	var err error
	if f.reader, err = reading.New(cfg, links); err != nil {
		return nil, err
	}
	f.model, err = model.New(cfg, links, f.note)
	return f, err
}

// note keeps what the model does, equal things of one moment as one.
func (f *Follower) note(at time.Duration, a node.Action) {
	text := Would(a)
	if text == "" {
		return
	}
	for i := range f.lines {
		if l := &f.lines[i]; l.at == at && l.text == text {
			l.times++
			return
		}
	}
	f.lines = append(f.lines, would{at, text, 1})
}

func (f *Follower) flush() {
	for _, l := range f.lines {
		if l.times > 1 {
			l.text += fmt.Sprintf(", %d times", l.times)
		}
		f.print(l.at, l.text)
	}
	f.lines = f.lines[:0]
}

// start begins the elections at time 0.
func (f *Follower) start() {
	if f != nil {
		f.model.Start(0)
		f.flush()
	}
}

// before lets everything happen that comes before a moment.
func (f *Follower) before(at time.Duration) {
	if f != nil {
		f.model.Before(at)
		f.flush()
	}
}

// verdict is what the director makes of a packet in the state that it is in.
func (f *Follower) verdict(p pcap.Packet) string {
	if f == nil {
		return ""
	}
	switch port, w := f.way(p); w {
	case model.Heard:
		return f.reader.Verdict(f.links[port].Name, p.Data, f.model.State)
	case model.Sent:
		return "its own"
	}
	return ""
}

func (f *Follower) hear(at time.Duration, p pcap.Packet) {
	if f == nil {
		return
	}
	if port, w := f.way(p); w == model.Heard {
		f.model.Hear(at, port, p.Data)
		f.flush()
	}
}

// deadline is when the director next does something by itself.
func (f *Follower) deadline() (at time.Duration, ok bool) {
	if f == nil {
		return 0, false
	}
	return f.model.Deadline()
}

// Would says what an action comes to, "" for what stands in the verdict on a packet or is
// nobody's business.
func Would(a node.Action) string {
	switch a := a.(type) {
	case node.Changed:
		return fmt.Sprintf("%s %v: %v", a.Instance, a.Changed, a.Cause)
	case node.GroupChanged:
		return fmt.Sprintf("sync group %s: %v", a.Group, a.State)
	case node.PriorityChanged:
		return fmt.Sprintf("%s priority %d to %d", a.Instance, a.From, a.To)
	case node.Send:
		return wouldSend(a.Frame)
	case node.AddAddress:
		return fmt.Sprintf("add %v to %s", a.Prefix, a.Device)
	case node.RemoveAddress:
		return fmt.Sprintf("remove %v from %s", a.Prefix, a.Device)
	case node.BlockAddresses:
		return fmt.Sprintf("drop packets to %d virtual addresses", len(a.Addresses))
	case node.UnblockAddresses:
		return fmt.Sprintf("accept packets to %d virtual addresses again", len(a.Addresses))
	case node.AddRoute:
		return "add route " + a.Route.String()
	case node.RemoveRoute:
		return "remove route " + a.Route.String()
	case node.AddRule:
		return "add rule " + a.Rule.String()
	case node.RemoveRule:
		return "remove rule " + a.Rule.String()
	case node.Notify:
		return "run " + strings.Join(append(a.Command.Args[:len(a.Command.Args):len(a.Command.Args)], a.Extra...), " ")
	case node.Mail:
		return "mail: " + a.Subject
	case node.FileChanged:
		return fmt.Sprintf("file %s: %d", a.File, a.Value)
	case node.QuorumOfProcess:
		return fmt.Sprintf("process %s: %d running", a.Process, a.Count)
	case node.ScriptChanged:
		return fmt.Sprintf("script %s: %s", a.Script, a.Reason)
	}
	return ""
}

func wouldSend(frame []byte) string {
	if who, ok := model.Announced(frame); ok && who.Is6() {
		return fmt.Sprintf("announce %s by neighbour advertisement", who)
	} else if ok {
		return fmt.Sprintf("announce %s by gratuitous ARP", who)
	}
	if who, ok := model.Asked(frame); ok {
		return fmt.Sprintf("ask who has %s", who)
	}
	ip, v, err := netlab.ParseVRRP(proto.Ethernet(frame))
	if err != nil {
		return proto.Describe(frame)
	}
	return fmt.Sprintf("advertise VRID %d priority %d to %s", v.VRID(), v.Priority(), ip.Dst())
}
