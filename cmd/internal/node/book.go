package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/fsm"
)

// book keeps what was wrong with received advertisements. Each mistake of each sender is
// told once, then counted; told again when it changes, when it comes back after it was
// gone, and a refusal after a transition. What a forger can make it keep and say is bounded.
type book struct {
	notes    []note
	patience time.Duration // without it for so long, a mistake is gone
	counts   [fsm.Verdicts]uint64
	unnoted  uint64 // of senders for whom there was no room
	said     int    // reports that are not yet made up for
	since    time.Duration
}

// note is one mistake of one sender.
type note struct {
	key    mistake
	detail uint64 // what exactly: a version, an interval, ...
	count  uint64
	last   time.Duration
	told   bool
}

// mistake is [fsm.Accepted] for what is only remarked.
type mistake struct {
	src     netip.Addr
	vrid    uint8
	verdict fsm.Verdict
}

const (
	notesKept   = 64               // mistakes of a book
	reportsKept = 16               // reports at once; after that one more
	reportEvery = 30 * time.Second // each
)

// add counts a mistake and reports whether it is to be told.
func (b *book) add(now time.Duration, key mistake, detail uint64) bool {
	b.counts[key.verdict]++
	e := b.entry(now, key)
	if e == nil {
		b.unnoted++
		return false
	}
	known := e.told && e.detail == detail && now-e.last <= b.patience
	e.detail, e.last, e.told = detail, now, known
	e.count++
	if known || !b.mayTell(now) {
		return false
	}
	e.told = true
	return true
}

// entry finds the note, or makes room for it where the mistake of another has gone.
func (b *book) entry(now time.Duration, key mistake) *note {
	oldest := 0
	for i := range b.notes {
		if b.notes[i].key == key {
			return &b.notes[i]
		}
		if b.notes[i].last < b.notes[oldest].last {
			oldest = i
		}
	}
	if len(b.notes) < notesKept {
		b.notes = append(b.notes, note{key: key})
		return &b.notes[len(b.notes)-1]
	}
	if e := &b.notes[oldest]; now-e.last > b.patience {
		b.unnoted += e.count
		*e = note{key: key}
		return e
	}
	return nil
}

// mayTell limits the reports.
func (b *book) mayTell(now time.Duration) bool {
	if gone := int((now - b.since) / reportEvery); gone > 0 {
		b.said = max(0, b.said-gone)
		b.since += time.Duration(gone) * reportEvery
	}
	if b.said == reportsKept {
		return false
	}
	b.said++
	return true
}

// renew has every refusal told anew.
func (b *book) renew() {
	for i := range b.notes {
		b.notes[i].told = b.notes[i].told && b.notes[i].key.verdict == fsm.Accepted
	}
}

// Mistake is what was wrong with the advertisements of one sender, and how often. Verdict
// is [fsm.Accepted] where they were heard all the same. Src is invalid for all of whom
// nothing else is known, because there were too many.
type Mistake struct {
	Src     netip.Addr
	VRID    uint8
	Verdict fsm.Verdict
	Count   uint64
}

// mistakes lists the notes, the most frequent first.
func (b *book) mistakes() []Mistake {
	var list []Mistake
	for _, e := range b.notes {
		list = append(list, Mistake{e.key.src, e.key.vrid, e.key.verdict, e.count})
	}
	slices.SortStableFunc(list, func(x, y Mistake) int { return cmp.Compare(y.Count, x.Count) })
	if b.unnoted > 0 {
		list = append(list, Mistake{Count: b.unnoted})
	}
	return list
}

// Tally is what was wrong with the advertisements that one instance has heard, or with
// those on an interface that are for none, whose Instance is empty.
type Tally struct {
	Instance, Interface string
	Refused             uint64
	Remarked            uint64 // accepted, with something odd about them
	Mistakes            []Mistake
}

// mostListed is how many mistakes a line lists.
const mostListed = 8

// String is the counters in one line.
func (t Tally) String() string {
	parts := []string{fmt.Sprintf("%d refused, %d accepted with a remark", t.Refused, t.Remarked)}
	for i, m := range t.Mistakes {
		if i == mostListed {
			parts = append(parts, fmt.Sprintf("and %d kinds more", len(t.Mistakes)-i))
			break
		}
		parts = append(parts, m.String())
	}
	return strings.Join(parts, "; ")
}

// String is the mistake with its sender and how often it was made.
func (m Mistake) String() string {
	switch {
	case !m.Src.IsValid():
		return fmt.Sprintf("of others ×%d", m.Count)
	case m.Verdict == fsm.Accepted:
		return fmt.Sprintf("%s remarked ×%d", m.Src, m.Count)
	case m.Verdict == fsm.WrongVRID:
		return fmt.Sprintf("%s VRID %d ×%d", m.Src, m.VRID, m.Count)
	}
	return fmt.Sprintf("%s %s ×%d", m.Src, m.Verdict, m.Count)
}

// Tallies lists the counters since the start: of instances in their order, then of
// interfaces. Where nothing was wrong there is none.
func (n *Node) Tallies() []Tally {
	var list []Tally
	add := func(instance, iface string, b *book) {
		t := Tally{Instance: instance, Interface: iface, Remarked: b.counts[fsm.Accepted], Mistakes: b.mistakes()}
		for _, c := range b.counts[1:] {
			t.Refused += c
		}
		if t.Refused+t.Remarked > 0 {
			list = append(list, t)
		}
	}
	for i := range n.instances {
		add(n.instances[i].cfg.Name, n.instances[i].cfg.Interface, &n.instances[i].book)
	}
	for i := range n.ports {
		add("", n.ports[i].link.Name, &n.ports[i].book)
	}
	return list
}

// tally reports all of it at the end.
func (n *Node) tally() {
	for _, t := range n.Tallies() {
		n.emit(t)
	}
}
