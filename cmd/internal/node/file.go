package node

import (
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/fsm"
)

// file is a tracked file with its number, which is 0 until it was read.
type file struct {
	cfg   *config.TrackFile
	value int
	users []int // instances that track it
}

// Files lists the files by their number; those that nobody tracks are nil, as they need
// not be watched (reference 3.6).
func (n *Node) Files() []*config.TrackFile {
	list := make([]*config.TrackFile, len(n.files))
	for i := range n.files {
		if len(n.files[i].users) > 0 {
			list[i] = n.files[i].cfg
		}
	}
	return list
}

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
}
