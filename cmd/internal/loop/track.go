package loop

import (
	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// track begins to watch tracked files and processes, and gives the node what they are now:
// the elections begin with that. At the start, files are made that are to be.
func (l *Loop) track(start bool) {
	run := l.running
	for i, f := range l.Node.Files() {
		if f == nil {
			continue
		}
		if start && f.InitFile != nil {
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
		go w.Run(run.ctx, func() { read(run.post) })
	}
	l.trackProcesses()
}

// trackProcesses counts them all by one watch.
func (l *Loop) trackProcesses() {
	var kinds []checks.Process
	var numbers []int // the node's, of each kind
	for i, p := range l.Node.Processes() {
		if p != nil {
			kinds = append(kinds, checks.Process{Name: p.Process[0], Args: p.Process[1:], Match: p.ParamMatch, Full: p.FullCommand})
			numbers = append(numbers, i)
		}
	}
	if len(kinds) == 0 {
		return
	}
	events, err := checks.OpenProcessEvents()
	if err != nil {
		l.Log.Info("tracked processes are looked for every half second: the kernel does not tell", "reason", err)
	}
	w := checks.NewProcesses(kinds)
	w.Scan() // after the events began: nothing is missed between them
	told := w.Counts()
	for k, i := range numbers {
		l.step(node.ProcessesCounted{Process: i, Count: told[k]})
	}
	run := l.running
	go w.Run(run.ctx, events, func(counts []int) {
		for k, i := range numbers {
			if counts[k] != told[k] {
				run.post(node.ProcessesCounted{Process: i, Count: counts[k]})
			}
		}
		told = counts
	})
}
