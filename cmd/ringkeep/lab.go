package main

import (
	"fmt"
	"os"

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
			failed := 0
			for _, file := range files {
				s, err := netlab.Load(file)
				if err != nil {
					return err
				}
				r, err := netlab.Run(cmd.Context(), s, o)
				if err != nil {
					return err
				}
				if !r.Passed {
					failed++
				}
			}
			if failed > 0 {
				return coded{fmt.Errorf("%d of %d scenarios failed", failed, len(files)), 1}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "`directory` for the capture and the logs (default: a new one in the temporary directory)")
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "print the nodes' log lines as they come")
	return cmd
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
