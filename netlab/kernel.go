package netlab

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// backEnds are what a scenario may say that it needs.
var backEnds = []string{"namespaces", "ip_vs"}

// checkKernel tells of what the scenario needs and this kernel lacks, with the remedy. To look
// for IPVS loads its module where there is one.
func (s *Scenario) checkKernel() error {
	for _, st := range s.Statements {
		if st.Words[0] != "needs" || st.Words[1] != "ip_vs" {
			continue
		}
		_, err := netlink.GenlFamilyGet("IPVS")
		if errors.Is(err, syscall.ENOENT) {
			return st.Errorf(0, "this kernel has no IPVS: load its module (modprobe ip_vs), or play the scenario in a virtual machine: ringkeep lab run --kernel debian %s", s.File)
		}
		if err != nil {
			return st.Errorf(0, "look for IPVS: %v", err)
		}
	}
	return nil
}

// printsCondition is prints HOST COMMAND TEXT: a line of what a shell command prints in the
// network of the host, each run of blanks one, holds the text.
func (l *lab) printsCondition(w []string) (func() bool, error) {
	if len(w) < 4 || l.hosts[w[1]] == nil {
		return nil, errors.New(`prints HOST "COMMAND" TEXT`)
	}
	h, text := l.hosts[w[1]], strings.Join(w[3:], " ")
	return l.asking(text, func() (string, error) {
		cmd := exec.CommandContext(l.ctx, "sh", "-c", w[2])
		out, err := h.run(cmd)
		if err != nil {
			err = fmt.Errorf("%s: %w", w[2], err)
		}
		return out, err
	}), nil
}

// asking is a condition about what a command prints, which is run now and then.
func (l *lab) asking(text string, output func() (string, error)) func() bool {
	var asked time.Time
	holds := false
	return func() bool {
		if time.Since(asked) < askEvery {
			return holds
		}
		out, err := output()
		asked, holds = time.Now(), false
		for line := range strings.Lines(out) {
			holds = holds || err == nil && strings.Contains(strings.Join(strings.Fields(line), " "), text)
		}
		return holds
	}
}
