package checks

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Process says which processes are meant. The name alone is compared with the kernel's, of
// which 15 bytes are kept; with arguments or Full, with the command line.
type Process struct {
	Name  string
	Args  []string
	Match string // of the arguments: "" all of them, "initial" the first, "partial" the first, the last of them by its beginning
	Full  bool
}

// commBytes is the length of a process's name in the kernel, without its zero.
const commBytes = 15

// matches judges one process by its name and command line.
func (p Process) matches(comm string, line func() []string) bool {
	if !p.Full && len(p.Args) == 0 {
		return comm == p.Name[:min(len(p.Name), commBytes)]
	}
	args := line()
	if len(args) == 0 || args[0] != p.Name {
		return false
	}
	args = args[1:]
	n := len(p.Args)
	switch {
	case len(args) < n || p.Match == "" && len(args) > n:
		return false
	case p.Match == "partial" && n > 0:
		return slices.Equal(args[:n-1], p.Args[:n-1]) && strings.HasPrefix(args[n-1], p.Args[n-1])
	}
	return slices.Equal(args[:n], p.Args)
}

// Processes counts processes of several kinds in /proc.
type Processes struct {
	kinds []Process
	found map[int][]int // of each process id that is of any: which
}

// NewProcesses counts nothing yet.
func NewProcesses(kinds []Process) *Processes {
	return &Processes{kinds: kinds, found: map[int][]int{}}
}

// Counts is how many there are of each kind.
func (p *Processes) Counts() []int {
	list := make([]int, len(p.kinds))
	for _, kinds := range p.found {
		for _, k := range kinds {
			list[k]++
		}
	}
	return list
}

// Scan looks at all of them.
func (p *Processes) Scan() {
	clear(p.found)
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range list {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			p.look(pid)
		}
	}
}

// look looks at one, which may be gone.
func (p *Processes) look(pid int) {
	delete(p.found, pid)
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	from, to := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if err != nil || from < 0 || to < from || len(stat) < to+3 || stat[to+2] == 'Z' || stat[to+2] == 'X' {
		return // it has ended, though nobody may have waited for it
	}
	line := func() []string {
		b, _ := os.ReadFile(dir + "/cmdline")
		return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	}
	for k, kind := range p.kinds {
		if kind.matches(string(stat[from+1:to]), line) {
			p.found[pid] = append(p.found[pid], k)
		}
	}
}

// rescan is how often /proc is read where the kernel does not tell.
const rescan = 500 * time.Millisecond

// Run tells the counts whenever they may have changed, until ctx ends: at once by events, or
// where events is nil, by looking every half second.
func (p *Processes) Run(ctx context.Context, events *ProcessEvents, counted func([]int)) {
	if events == nil {
		p.poll(ctx, counted)
		return
	}
	defer events.Close()
	stop := context.AfterFunc(ctx, events.interrupt)
	defer stop()
	for ctx.Err() == nil {
		pid, ends, err := events.next()
		if err != nil { // some were lost: look at all
			p.Scan()
			counted(p.Counts())
			if !overflowed(err) {
				if ctx.Err() == nil {
					p.poll(ctx, counted)
				}
				return
			}
			continue
		}
		before := maps.Clone(p.found)
		if ends {
			delete(p.found, pid)
		} else if pid > 0 {
			p.look(pid)
		}
		if !maps.EqualFunc(before, p.found, slices.Equal[[]int]) {
			counted(p.Counts())
		}
	}
}

func (p *Processes) poll(ctx context.Context, counted func([]int)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(rescan):
		}
		before := p.Counts()
		p.Scan()
		if now := p.Counts(); !slices.Equal(before, now) {
			counted(now)
		}
	}
}
