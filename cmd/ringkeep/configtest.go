package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// The exit codes of keepalived -t.
const (
	exitLacksValue = 2
	exitNoFile     = 4
	exitComplaint  = 5
	exitSecurity   = 6
)

// configTest is keepalived -t. outside is why this is not the namespace of the file: then
// its interfaces cannot be looked for.
func (r *runner) configTest(cmd *cobra.Command, o config.Options, outside error) error {
	if outside == nil {
		h, err := thisHost()
		if err != nil {
			return err
		}
		o.Host = h
	}
	out := cmd.ErrOrStderr()
	if r.test != "-" {
		f, err := os.OpenFile(r.test, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	_, messages, err := config.Load(r.file, o)
	if err != nil {
		fmt.Fprintln(out, "ringkeep:", err)
		return coded{errors.New(""), exitNoFile}
	}
	show(out, messages)
	code := testCode(messages)
	if outside != nil {
		fmt.Fprintln(out, "ringkeep:", outside)
		code = max(code, exitComplaint)
	}
	if code != 0 {
		return coded{errors.New(""), code}
	}
	return nil
}

// testCode is the exit code of a config test: the worst finding decides.
func testCode(messages []config.Message) int {
	code := 0
	for _, m := range messages {
		switch {
		case m.Level == config.Error:
			return exitLacksValue
		case m.Class == config.Security:
			code = exitSecurity
		case m.Level == config.Warning:
			code = max(code, exitComplaint)
		}
	}
	return code
}
