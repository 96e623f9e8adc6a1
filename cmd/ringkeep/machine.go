package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ringkeep/ringkeep/netlab"
	"github.com/ringkeep/ringkeep/netlab/vm"
)

// kernelModules are what directors, real servers and the lab's links are made of in Debian's
// kernel.
var kernelModules = []string{
	"ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sed", "ip_vs_nq", "ip_vs_fo", "ip_vs_ovf", "ip_vs_sh", "ip_vs_dh",
	"ip_vs_mh", "ip_vs_lblc", "ip_vs_lblcr", "ip_vs_pe_sip", "ipip", "ip6_tunnel", "ip_gre", "fou",
	"veth", "dummy", "macvlan", "bridge", "tun", "overlay", "nf_tables", "nft_fib_inet",
}

// guest is a command of this program in a virtual machine with another kernel. It sees the
// machine's files alone, under the names that they have here.
type guest struct {
	kernel   string // debian
	programs []string
	files    map[string][]byte // by absolute path
	folder   string            // brought back to the same place here
	out      io.Writer
}

// run runs the command in the working directory. Its exit status is that of the error.
func (g guest) run(ctx context.Context, args ...string) error {
	if g.kernel != "debian" {
		return fmt.Errorf("--kernel %s: must be debian; without it this host's kernel is used", g.kernel)
	}
	if err := vm.Missing(); err != nil {
		return fmt.Errorf("--kernel %s: %w", g.kernel, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	m := vm.Machine{
		Modules: kernelModules, Programs: append([]string{self}, g.programs...), Files: map[string][]byte{},
		Memory: 2048, Watch: g.out, Folder: g.folder, Counted: true,
	}
	maps.Copy(m.Files, g.files)
	for _, name := range []string{"/etc/passwd", "/etc/group"} { // for the users of scripts
		if m.Files[name], err = os.ReadFile(name); err != nil {
			return err
		}
	}
	r, err := m.Run(ctx, append([]string{"sh", "-c", `mkdir -p "$0" && cd "$0" && exec "$@"`, here, self}, args...)...)
	if ctx.Err() != nil {
		return coded{fmt.Errorf("%w: the machine was switched off, nothing comes back from it", netlab.ErrInterrupted), 1}
	}
	if err != nil {
		return err
	}
	if err := r.Unpack(g.folder); err != nil {
		return err
	}
	if r.Status != 0 {
		return coded{errors.New(""), r.Status}
	}
	return nil
}

// labGuest is the machine for scenario files: with the captures that they play, and with the
// programs of their nodes.
func labGuest(files, programs []string) (guest, error) {
	g := guest{programs: append([]string{"ip", "ipvsadm"}, programs...), files: map[string][]byte{}}
	for _, file := range files {
		if err := g.add(file); err != nil {
			return g, err
		}
		list, err := netlab.LoadAll(file)
		if err != nil {
			return g, err
		}
		for _, s := range list {
			for _, st := range s.Statements {
				switch w := st.Words; {
				case w[0] == "node" && w[2] == "keepalived":
					g.programs = append(g.programs, "keepalived")
				case w[0] == "node" && w[2] == "frr":
					return g, st.Errorf(2, "the machine has no FRR: play this scenario without --kernel")
				case w[0] == "play" && filepath.IsAbs(w[2]):
					err = g.add(w[2])
				case w[0] == "play":
					err = g.add(filepath.Join(filepath.Dir(file), w[2]))
				}
				if err != nil {
					return g, err
				}
			}
			g.interpreters(s)
		}
	}
	slices.Sort(g.programs)
	g.programs = slices.Compact(g.programs)
	return g, nil
}

// add takes a file of this host along.
func (g *guest) add(file string) error {
	path, err := filepath.Abs(file)
	if err == nil {
		g.files[path], err = os.ReadFile(path)
	}
	return err
}

// interpreters takes those along that scripts of the scenario name in their first line.
func (g *guest) interpreters(s *netlab.Scenario) {
	for _, data := range s.Files {
		line, script := strings.CutPrefix(string(data), "#!")
		if !script {
			continue
		}
		line, _, _ = strings.Cut(line, "\n")
		for _, word := range strings.Fields(line) {
			if filepath.IsAbs(word) && !slices.Contains([]string{"/bin/sh", "/usr/bin/sh", "/usr/bin/env"}, word) {
				g.programs = append(g.programs, word)
			}
		}
	}
}

// labInMachine plays scenario files in a machine and brings the folder of the run back to where
// it would be without one.
func labInMachine(ctx context.Context, kernel string, files, programs []string, o netlab.Options) error {
	g, err := labGuest(files, programs)
	if err != nil {
		return err
	}
	g.kernel, g.out = kernel, o.Out
	if g.folder, err = resultFolder(o.Dir, "ringkeep-lab-"); err != nil {
		return err
	}
	args := []string{"lab", "run", "--plain", "--dir", g.folder}
	if o.Verbose {
		args = append(args, "-v")
	}
	return g.run(ctx, append(args, files...)...)
}

// resultFolder is the absolute path of a folder that is there: a new one with the prefix unless
// it is named.
func resultFolder(named, prefix string) (string, error) {
	if named == "" {
		return os.MkdirTemp("", prefix)
	}
	path, err := filepath.Abs(named)
	if err == nil {
		err = os.MkdirAll(path, 0o755)
	}
	return path, err
}
