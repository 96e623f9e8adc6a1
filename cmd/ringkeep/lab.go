package main

import (
	"context"
	"errors"
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
	var plain bool
	var kernel string
	var programs []string
	cmd := &cobra.Command{
		Use:   "run FILE...",
		Short: "Play scenario files and judge them",
		Long: `Play scenario files: hosts and links in network namespaces, directors as real
processes, faults, and what must hold. Everything it makes is gone at the end. The
frames of the whole lab are in one pcapng file, the logs of the nodes beside it.
On a terminal it shows the run while it plays; q or Ctrl-C ends it, and the report is
written. The exit status is 0 when every scenario passed, 1 when one failed or was
interrupted, 2 when one could not be run. Without root the lab enters a user namespace of its own.

With --kernel debian the lab runs in a virtual machine with the kernel of Debian's cloud
images, which has IPVS: it is emulated, on any host with qemu-system-x86_64 and without
root, and its clock counts instructions. The package of the kernel is downloaded once.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			o.Out = cmd.OutOrStdout()
			if kernel != "" {
				return labInMachine(cmd.Context(), kernel, files, programs, o)
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			if err := netlab.EnterUserNamespace(cmd.Context()); err != nil {
				return err
			}
			o.Binary, o.Read = self, reading.Read
			var list []*netlab.Scenario
			for _, file := range files {
				all, err := netlab.LoadAll(file)
				if err != nil {
					return err
				}
				list = append(list, all...)
			}
			return playAll(cmd.Context(), list, o, plain)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "`directory` for the capture and the logs (default: a new one in the temporary directory)")
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "print the nodes' log lines as they come")
	cmd.Flags().StringVar(&kernel, "kernel", "", "play them in a virtual machine with the kernel of this `distribution`: debian")
	cmd.Flags().StringSliceVar(&programs, "program", nil, "with --kernel, a `program` of this host that scripts of the scenario start, by name or path")
	cmd.Flags().BoolVar(&plain, "plain", false, "print lines only, on a terminal too")
	return cmd
}

// playAll plays scenarios one after the other, each as often as it says, until all are
// played or one is interrupted. More than one run ends with a list of what was measured.
func playAll(ctx context.Context, list []*netlab.Scenario, o netlab.Options, plain bool) error {
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	var lines []string
	all, failed, dir := runs(list), 0, o.Dir
	for i, r := range all {
		which := ""
		if o.Seed = r.seed; len(all) > 1 {
			which = fmt.Sprintf("%d of %d", i+1, len(all))
		}
		if dir != "" && len(all) > 1 {
			o.Dir = filepath.Join(dir, strconv.Itoa(i+1))
		}
		result, err := playOne(ctx, r.scenario, o, which, plain, interrupt)
		if err != nil {
			return err
		}
		if !result.Passed {
			failed++
		}
		lines = append(lines, r.line(result))
		if errors.Is(result.Failure, netlab.ErrInterrupted) {
			break
		}
	}
	if len(all) > 1 {
		fmt.Fprintln(o.Out, strings.Join(lines, "\n"))
	}
	switch {
	case ctx.Err() != nil && failed > 0:
		return coded{netlab.ErrInterrupted, 1}
	case failed > 0:
		return coded{fmt.Errorf("%d of %d runs failed", failed, len(all)), 1}
	}
	return nil
}

// planned is a scenario that is to be played with a seed.
type planned struct {
	scenario *netlab.Scenario
	seed     uint64
}

func runs(list []*netlab.Scenario) (all []planned) {
	for _, s := range list {
		n, seed := s.Repeat()
		for i := range n {
			all = append(all, planned{s, seed + uint64(i)})
		}
	}
	return all
}

// line is what came of it.
func (r planned) line(result *netlab.Result) string {
	line := fmt.Sprintf("%s seed %d: passed", r.scenario.Name, r.seed)
	if !result.Passed {
		line = fmt.Sprintf("%s seed %d: FAILED", r.scenario.Name, r.seed)
	}
	for _, m := range result.Report.Measures {
		line += "; " + netlab.Found(m)
	}
	return line
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

// labPingCommand is the process of a probe of the lab that asks by ICMP.
func labPingCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "lab-ping ADDR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(cmd *cobra.Command, args []string) error { return netlab.Ping(args[0], cmd.OutOrStdout()) },
	}
}
