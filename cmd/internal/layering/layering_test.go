// Package layering holds the import table of the project as a test. A new arrow
// changes the table here, argued in the commit that adds it.
package layering

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ringkeep/ringkeep/"

// arrows says which rooms a room may import. A room that is missing here fails the test.
var arrows = map[string][]string{
	"proto":           {},
	"sched":           {},
	"checks":          {},
	"checks/smtptest": {},
	"ring":            {"ring/flowtable"},
	"ring/flowtable":  {},
	"ring/pcap":       {},
	"ring/ringtest":   {"ring"},
	"fsm":             {"proto"},
	"fsm/bfd":         {"proto"},
	"forward":         {"proto", "sched"},
	"netlab":          {"proto", "ring", "ring/pcap", "netlab/report"},
	"netlab/report":   {},
	"netlab/vm":       {},
	"forward/ipvs":    {"forward", "sched"},
	"bench":           {"proto", "ring", "forward", "sched", "netlab", "netlab/report"},

	"cmd/internal/config":   {},
	"cmd/internal/kernel":   {},
	"cmd/internal/layering": {},
	"cmd/internal/dump":     {"netlab", "proto", "ring", "ring/pcap", "cmd/internal/config", "cmd/internal/model", "cmd/internal/node", "cmd/internal/reading"},
	"cmd/internal/model":    {"netlab", "proto", "fsm", "ring/pcap", "cmd/internal/config", "cmd/internal/node"},
	"cmd/internal/replay":   {"netlab", "proto", "fsm", "ring/pcap", "cmd/internal/config", "cmd/internal/model", "cmd/internal/node"},
	"cmd/internal/sim":      {"proto", "ring/pcap", "netlab", "netlab/report", "cmd/internal/config", "cmd/internal/node", "cmd/internal/reading"},
	"cmd/internal/reading":  {"proto", "fsm", "netlab", "cmd/internal/config", "cmd/internal/node"},
	"cmd/internal/node":     {"proto", "fsm", "fsm/bfd", "sched", "forward", "cmd/internal/config"},
	"cmd/internal/status":   {"proto", "forward", "cmd/internal/config", "cmd/internal/node"},
	"cmd/internal/loop":     {"proto", "fsm", "forward", "forward/ipvs", "ring", "ring/flowtable", "checks", "cmd/internal/config", "cmd/internal/kernel", "cmd/internal/node"},
	"cmd/ringkeep":          {"bench", "forward", "forward/ipvs", "cmd/internal/status", "netlab", "netlab/report", "netlab/vm", "cmd/internal/reading", "proto", "cmd/internal/dump", "ring", "ring/flowtable", "checks", "cmd/internal/config", "cmd/internal/kernel", "cmd/internal/loop", "cmd/internal/model", "cmd/internal/node", "cmd/internal/replay", "cmd/internal/sim"},
}

// pure lists the rooms without sockets, files, clock, goroutines or global state.
var pure = []string{"proto", "fsm", "fsm/bfd", "sched", "forward", "cmd/internal/node"}

// impure are the imports that a pure room must not have.
var impure = []string{"net", "os", "sync", "sync/atomic", "context", "log", "log/slog", "math/rand", "math/rand/v2", "syscall", "unsafe", "os/exec", "runtime"}

// shellOuts may start programs: the checks' scripts, the lab's nodes and machines, and what is measured.
var shellOuts = []string{"checks", "netlab", "netlab/vm", "bench", "cmd/internal/layering"}

type listed struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestArrows(t *testing.T) {
	for _, p := range list(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := arrows[room]
		if !known {
			t.Errorf("room %s is not in the table", room)
			continue
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s: not an arrow of the table", room, ours)
			}
		}
	}
}

func TestPureRoomsStayPure(t *testing.T) {
	for _, p := range list(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if !slices.Contains(pure, room) {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(impure, imp) || strings.HasPrefix(imp, "golang.org/x/sys") {
				t.Errorf("%s imports %s: this room is pure", room, imp)
			}
		}
	}
}

func TestUnsafeLivesInRingOnly(t *testing.T) {
	for _, p := range list(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if room != "ring" && slices.Contains(p.Imports, "unsafe") {
			t.Errorf("%s imports unsafe: it belongs into ring", room)
		}
		if !slices.Contains(shellOuts, room) && slices.Contains(p.Imports, "os/exec") {
			t.Errorf("%s imports os/exec: programs are started by checks, netlab and bench", room)
		}
	}
}
