package node

import (
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

// file is a tracked file with its number, which is 0 until it was read.
type file struct {
	cfg    *config.TrackFile
	value  int
	users  []int // instances that track it
	checks []int // FILE_CHECKs
}

// Files lists the files by their number; those that nobody tracks are nil, as they need
// not be watched (reference 3.6).
func (n *Node) Files() []*config.TrackFile {
	list := make([]*config.TrackFile, len(n.files))
	for i := range n.files {
		if n.files[i].tracked() {
			list[i] = n.files[i].cfg
		}
	}
	return list
}

// tracked tells whether anybody asks for it.
func (f *file) tracked() bool { return len(f.users)+len(f.checks) > 0 }

func (n *Node) fileRead(now time.Duration, ev FileRead) {
	f := &n.files[ev.File]
	if f.value == ev.Value {
		return
	}
	f.value = ev.Value
	n.emit(FileChanged{f.cfg.Name, f.value})
	for _, user := range f.users {
		n.stepInstance(now, user, fsm.Numbered{Kind: "file", Name: f.cfg.Name, Value: f.value})
	}
	n.fileChecked(now, f)
}
