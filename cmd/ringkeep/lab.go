package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/reading"
	"github.com/ringkeep/ringkeep/netlab"
)

func labCommand() *cobra.Command {
	lab := &cobra.Command{
		Use:   "lab",
		Short: "Run several nodes on this machine, in network namespaces",
	}
	lab.AddCommand(labRunCommand(), labTryCommand())
	return lab
}

func labRunCommand() *cobra.Command {
	var o netlab.Options
	cmd := &cobra.Command{
		Use:   "run FILE...",
		Short: "Play scenario files and judge them",
		Long: `Play scenario files: hosts and links in network namespaces, directors as real
processes, faults, and what must hold. Everything it makes is gone at the end. The
frames of the whole lab are in one pcapng file, the logs of the nodes beside it.
The exit status is 0 when every scenario passed, 1 when one failed, 2 when one
could not be run. Without root the lab enters a user namespace of its own.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			if err := netlab.EnterUserNamespace(); err != nil {
				return err
			}
			o.Binary, o.Out, o.Read = self, cmd.OutOrStdout(), reading.Read
			var list []*netlab.Scenario
			for _, file := range files {
				all, err := netlab.LoadAll(file)
				if err != nil {
					return err
				}
				list = append(list, all...)
			}
			return playAll(cmd.Context(), list, o)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "`directory` for the capture and the logs (default: a new one in the temporary directory)")
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "print the nodes' log lines as they come")
	return cmd
}

// playAll plays scenarios one after the other, each as often as it says. More than one
// run ends with a list of what was measured.
func playAll(ctx context.Context, list []*netlab.Scenario, o netlab.Options) error {
	var runs []string
	failed, dir := 0, o.Dir
	for _, s := range list {
		n, seed := s.Repeat()
		for i := range n {
			if o.Seed = seed + uint64(i); dir != "" && len(list)+n > 2 {
				o.Dir = filepath.Join(dir, strconv.Itoa(len(runs)+1))
			}
			r, err := netlab.Run(ctx, s, o)
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s seed %d: passed", s.Name, o.Seed)
			if !r.Passed {
				failed++
				line = fmt.Sprintf("%s seed %d: FAILED", s.Name, o.Seed)
			}
			for _, m := range r.Report.Measures {
				line += "; " + netlab.Found(m)
			}
			runs = append(runs, line)
		}
	}
	if len(runs) > 1 {
		fmt.Fprintln(o.Out, strings.Join(runs, "\n"))
	}
	if failed > 0 {
		return coded{fmt.Errorf("%d of %d runs failed", failed, len(runs)), 1}
	}
	return nil
}

// labEnterCommand is what the lab starts a node's process through: it prepares
// the mount namespace and becomes the program.
func labEnterCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "lab-enter",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE:               func(*cobra.Command, []string) error { return netlab.Enter() },
	}
}
