package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringkeep/ringkeep/bench"
)

func benchCommand() *cobra.Command {
	o := bench.Options{Version: version}
	var dir, only, kernel string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what forwarding costs, beside bare forwarders and the kernel",
		Long: `Measure what forwarding costs on this machine: this program as a daemon beside the
barest forwarders in C and Go and beside the kernel's own forwarding, by turns in
one run. Compare ratios inside one run only; the machine should do nothing else.

Standard output gets Go's benchmark format, a line for each round, which benchstat
reads; then medians and ratios. The directory gets the same as bench.txt, everything
as bench.json, and plots in bench.html. It needs root in the initial user namespace,
since the frames come from an XDP program; all interfaces are in namespaces of its own.
--limits names the folder of the bare forwarders' sources, fwd.c and gofwd.go, which
gcc and go compile; what is missing is left out.

Where the kernel has IPVS (module ip_vs) it is measured too, programmed by this program
from the same file. With --kernel debian everything runs in a virtual machine with the
kernel of Debian's cloud images, which has it: one emulated processor, whose times are
the number of its instructions, so that the ratios mean something and the rates do not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if kernel != "" {
				return benchInMachine(cmd, kernel, dir)
			}
			if o.Binary == "" {
				if o.Binary, err = os.Executable(); err != nil {
					return err
				}
			}
			for _, m := range o.Methods {
				if !slices.Contains([]string{"DR", "NAT", "TUN"}, m) {
					return fmt.Errorf("--methods %s: must be DR, NAT or TUN", m)
				}
			}
			if len(o.Methods) == 0 || o.Rounds < 0 {
				return fmt.Errorf("--methods needs one at least, --rounds must not be negative")
			}
			if only != "" {
				if o.Only, err = regexp.Compile(only); err != nil {
					return fmt.Errorf("--only %s: %w", only, err)
				}
			}
			o.Command = "ringkeep " + strings.Join(os.Args[1:], " ")
			o.Out = cmd.OutOrStdout()
			report, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := report.Text(o.Out); err != nil {
				return err
			}
			page, err := report.Files(dir)
			if err != nil {
				return err
			}
			fmt.Fprintln(o.Out, page)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Limits, "limits", "", "`folder` of the bare forwarders' sources")
	f.StringVar(&o.Binary, "binary", "", "the `program` that is measured (default this one)")
	f.StringSliceVar(&o.Methods, "methods", []string{"DR", "NAT", "TUN"}, "forwarding `methods`: DR, NAT, TUN")
	f.IntVar(&o.Rounds, "rounds", 0, "how often each case is measured, by turns (default 5, 1 with --quick)")
	f.BoolVar(&o.Quick, "quick", false, "fewer cases, and shorter: under a minute")
	f.StringVar(&only, "only", "", "only cases whose names match the regular `expression`")
	f.StringVar(&kernel, "kernel", "", "measure in a virtual machine with the kernel of this `distribution`: debian")
	f.StringVar(&dir, "dir", "bench-report", "`directory` of the report")
	return cmd
}

// benchInMachine measures with the flags that were given, but for those of this host.
func benchInMachine(cmd *cobra.Command, kernel, dir string) error {
	folder, err := resultFolder(dir, "")
	if err != nil {
		return err
	}
	args := []string{"bench", "--dir", folder}
	var refused error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "dir", "kernel":
		case "binary", "limits":
			refused = fmt.Errorf("--%s: the machine has this program alone", f.Name)
		default:
			value := f.Value.String()
			if list, ok := f.Value.(pflag.SliceValue); ok {
				value = strings.Join(list.GetSlice(), ",")
			}
			args = append(args, "--"+f.Name+"="+value)
		}
	})
	if refused != nil {
		return refused
	}
	return guest{kernel: kernel, folder: folder, out: cmd.OutOrStdout()}.run(cmd.Context(), args...)
}
