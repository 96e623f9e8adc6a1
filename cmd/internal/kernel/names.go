package kernel

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Names are the numbers behind the names of routing tables, protocols, scopes, realms,
// traffic classes and groups of interfaces, as the files of iproute2 have them.
type Names map[string]map[string]uint32

// nameDirs are where the files are; the later ones win.
var nameDirs = []string{"/usr/lib/iproute2", "/usr/share/iproute2", "/etc/iproute2"}

// The kinds of names are the files' names.
const (
	TableNames    = "rt_tables"
	ProtocolNames = "rt_protos"
	ScopeNames    = "rt_scopes"
	RealmNames    = "rt_realms"
	TOSNames      = "rt_dsfield"
	GroupNames    = "group"
)

// ReadNames reads the files. One that is missing is none: the kernel's own names are
// known without.
func ReadNames() Names {
	n := Names{
		TableNames:    {"default": 253, "main": 254, "local": 255},
		ProtocolNames: {"redirect": 1, "kernel": 2, "boot": 3, "static": 4, "ra": 9, "dhcp": 16, "keepalived": ProtocolKeepalived},
		ScopeNames:    {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255},
		RealmNames:    {"cosmos": 0},
		TOSNames:      {"default": 0},
		GroupNames:    {"default": 0},
	}
	for kind := range n {
		for _, dir := range nameDirs {
			more, _ := filepath.Glob(filepath.Join(dir, kind+".d", "*.conf"))
			for _, file := range append([]string{filepath.Join(dir, kind)}, more...) {
				n.read(kind, file)
			}
		}
	}
	return n
}

func (n Names) read(kind, file string) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		text, _, _ := strings.Cut(s.Text(), "#")
		w := strings.Fields(text)
		if len(w) < 2 {
			continue
		}
		if v, err := strconv.ParseUint(w[0], 0, 32); err == nil {
			n[kind][w[1]] = uint32(v)
		}
	}
}

// Number is what a name, or a number as it is written, stands for; "" is 0.
func (n Names) Number(kind, name string, most uint32) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	if v, ok := n[kind][name]; ok && v <= most {
		return v, nil
	}
	v, err := strconv.ParseUint(name, 0, 32)
	if err != nil || v > uint64(most) {
		return 0, fmt.Errorf("%s: neither a number up to %d nor a name of %s", name, most, filepath.Join(nameDirs[len(nameDirs)-1], kind))
	}
	return uint32(v), nil
}
