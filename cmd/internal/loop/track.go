package loop

import (
	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// track begins to watch tracked files and processes, and gives the node what they are now:
// the elections begin with that.
func (l *Loop) track() {
	for i, f := range l.Node.Files() {
		if f == nil {
			continue
		}
		if f.InitFile != nil {
			if err := checks.WriteNumber(f.File, f.InitFile.Value, f.InitFile.Overwrite); err != nil {
				l.Log.Error("track_file "+f.Name+" not initialised", "err", err)
			}
		}
		w, err := checks.WatchFile(f.File)
		if err != nil {
			l.Log.Error("track_file "+f.Name+" is not watched", "err", err)
			continue
		}
		read := func(tell func(node.Event)) {
			value, err := checks.ReadNumber(f.File)
			if err != nil { // the old one stays
				l.Log.Warn("track_file "+f.Name+" ignored", "err", err)
				return
			}
			tell(node.FileRead{File: i, Value: value})
		}
		read(l.step)
		go w.Run(l.ctx, func() { read(l.Post) })
	}
}
