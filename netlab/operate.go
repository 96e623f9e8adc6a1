package netlab

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// output runs a command of ringkeep beside a node, as its operator does, and returns what
// it prints.
func (l *lab) output(h *host, args []string) (string, error) {
	if h.node == nil || h.node.kind != "ringkeep" {
		return "", fmt.Errorf("%s is no node of ringkeep", h.name)
	}
	out, err := h.run(exec.CommandContext(l.ctx, l.options.Binary, args...))
	if err != nil {
		return "", fmt.Errorf("ringkeep %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// run runs a command in the host's network and returns what it prints, on both streams; it is
// behind the error if the command fails.
func (h *host) run(cmd *exec.Cmd) (string, error) {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	var err error
	h.do(func() { err = cmd.Start() })
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// operate runs a command and tells what it printed.
func (l *lab) operate(h *host, args []string) error {
	l.command("ip netns exec %s ringkeep %s", h.name, strings.Join(args, " "))
	out, err := l.output(h, args)
	for line := range strings.Lines(out) {
		l.say(h.name, "| %s", strings.TrimSuffix(line, "\n"))
	}
	return err
}

// askEvery is how often a condition about a command's output runs it.
const askEvery = 50 * time.Millisecond

// saysCondition is says NODE COMMAND TEXT: a line of what the command prints, each run of
// blanks one, holds the text.
func (l *lab) saysCondition(w []string) (func() bool, error) {
	if len(w) < 4 || l.hosts[w[1]] == nil {
		return nil, errors.New("says NODE COMMAND TEXT")
	}
	h, args, text := l.hosts[w[1]], strings.Fields(w[2]), strings.Join(w[3:], " ")
	return l.asking(text, func() (string, error) { return l.output(h, args) }), nil
}
