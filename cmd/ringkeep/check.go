package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Read keepalived.conf files and say what is wrong with them",
		Long: `Read keepalived.conf files and say what is wrong with them: errors (the daemon
would not run with the file), warnings (it runs, but hardly as meant) and notices.
The exit status is 0 without errors, 2 with an error or an unreadable file.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			failed := false
			for _, file := range files {
				_, err := load(file, cmd.OutOrStdout())
				if err != nil {
					fmt.Fprintln(cmd.ErrOrStderr(), "ringkeep:", err)
					failed = true
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", file)
				}
			}
			if failed {
				return coded{fmt.Errorf(""), exitCode}
			}
			return nil
		},
	}
}

// load reads a configuration and prints its messages. The error is one line: the
// file cannot be read, or how many errors keep the daemon from running with it.
func load(file string, out io.Writer) (*config.Config, error) {
	cfg, messages, err := config.Load(file, config.Options{})
	if err != nil {
		return nil, err
	}
	errors := 0
	for _, m := range messages {
		fmt.Fprintln(out, m)
		if m.Level == config.Error {
			errors++
		}
	}
	if errors > 0 {
		return nil, fmt.Errorf("%s: %d error(s): not usable", file, errors)
	}
	return cfg, nil
}
