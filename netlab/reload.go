package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What the programs say when a reload is over.
var (
	reloadTaken   = "Reload complete"
	reloadRefused = "not reloaded"
)

// reload gives a node another file and SIGHUP, and waits for what it says about it.
func (l *lab) reload(h *host, file string, refused bool) error {
	n := h.node
	text := l.scenario.Files[file]
	if n.kind == "frr" {
		return errors.New("FRR is not reloaded")
	}
	n.mu.Lock()
	from := len(n.lines)
	n.mu.Unlock()
	if !refused {
		routers, reader, err := l.options.Read(n.own, text)
		if err != nil {
			return err
		}
		for i := range routers {
			routers[i].Foreign = n.kind != "ringkeep"
		}
		n.routers = routers
		l.live.reloaded(n.name, routers)
		l.record.Instances(n.name, routers, reader)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "node.conf"), text, 0o644); err != nil {
		return err
	}
	if !n.running() {
		return fmt.Errorf("%s does not run", n.name)
	}
	l.command("kill -HUP %d", n.cmd.Process.Pid)
	if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	said := ""
	for end := time.Now().Add(stopPatience); said == "" && time.Now().Before(end); pause(l.ctx, poll) {
		n.mu.Lock()
		for _, line := range slices.Clone(n.lines[from:]) {
			if strings.Contains(line, reloadTaken) || strings.Contains(line, reloadRefused) {
				said = line
			}
		}
		n.mu.Unlock()
	}
	switch {
	case said == "":
		return errors.New("it says nothing about the reload")
	case strings.Contains(said, reloadRefused) != refused:
		return errors.New(said)
	}
	return nil
}
