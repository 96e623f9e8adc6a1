package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/sim"
)

func labTryCommand() *cobra.Command {
	var write string
	cmd := &cobra.Command{
		Use:   "try FILE...",
		Short: "Build a network around unmodified files, and break it in the usual ways",
		Long: `Build a lan, addresses, peers, real servers and a client around the unmodified files
of a cluster's nodes, and play the standard faults on each node in virtual time: power
loss, clean stop, a killed process, a link that goes down, a node that stands still, one
that is cut off. Say who was MASTER before, during and after, for how long nobody
advertised, and what surprised. Scripts are taken to succeed. --write keeps the network
as the beginning of a scenario, to go on from.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			var files []sim.File
			for _, name := range names {
				text, err := config.Read(name)
				if err != nil {
					return err
				}
				files = append(files, sim.File{Name: name, Text: text})
			}
			head, findings, err := sim.Try(files)
			if err != nil {
				return err
			}
			if write != "" {
				if err := writeScenario(write, head, files); err != nil {
					return err
				}
			}
			fmt.Fprint(cmd.OutOrStdout(), head, "\n")
			return showFindings(cmd.OutOrStdout(), findings)
		},
	}
	cmd.Flags().StringVar(&write, "write", "", "write the network as a scenario to `file`")
	return cmd
}

func writeScenario(path, head string, files []sim.File) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	fmt.Fprint(f, head, "up "+sim.NodeNames(files)+"\nrun 10s\n")
	for i, file := range files {
		fmt.Fprintf(f, "-- %s.conf --\n%s\n", sim.NodeName(file.Name, i), file.Text)
	}
	return f.Close()
}

// showFindings writes the table, and what surprised.
func showFindings(out io.Writer, findings []sim.Finding) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\trouter\tMASTER before\tduring\tsilence\tafterwards\t")
	surprises := 0
	for _, f := range findings {
		silence := ""
		if f.Silence >= 0 {
			silence = f.Silence.Round(time.Millisecond).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Fault, f.Router, f.Before, orNobody(f.After), silence, orNobody(f.Back), f.Remark)
		if f.Remark != "" || f.Back == "" {
			surprises++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d trials, %d surprise(s)\n", len(findings), surprises)
	return nil
}

func orNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}
