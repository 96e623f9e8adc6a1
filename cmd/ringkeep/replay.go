package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/replay"
)

// replayer holds the options of replay.
type replayer struct {
	conf, iface string
	seat        seated
	start       time.Duration
	tolerance   time.Duration
}

func replayCommand() *cobra.Command {
	r := &replayer{}
	cmd := &cobra.Command{
		Use:   "replay FILE --conf FILE",
		Short: "Find the first packet where a recorded director did otherwise than the rules",
		Long: `Find the first packet where a recorded director did otherwise than the rules: its
advertisements and gratuitous ARPs are held against those of a director of the same
configuration that hears the same packets. FILE is a capture of the lab, with --node, or any
other of one link, with --own.

The exit status is 0 when everything agrees and 1 with a difference. When the director
started, which no capture shows, is inferred and printed; --start names another time. A
crash, a freeze or a failing tracking script is a difference too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&r.conf, "conf", "", "the configuration `file` of the director")
	f.StringVarP(&r.iface, "interface", "i", "", "the `interface` of the configuration that the capture is of")
	f.DurationVar(&r.start, "start", 0, "when the director started, since the first packet")
	f.DurationVar(&r.tolerance, "tolerance", 50*time.Millisecond, "how much earlier or later is the same; at most half an advertisement interval")
	r.seat.flags(cmd)
	return cmd
}

func (r *replayer) run(cmd *cobra.Command, file string) error {
	switch {
	case r.conf == "":
		return errors.New("name the configuration with --conf FILE")
	case r.tolerance <= 0:
		return fmt.Errorf("--tolerance %v: must be above 0", r.tolerance)
	}
	cfg, err := r.seat.load(r.conf, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	o := replay.Options{Tolerance: r.tolerance}
	if o.Place, err = r.seat.place(r.iface); err != nil {
		return err
	}
	if cmd.Flags().Changed("start") {
		o.Start = &r.start
	}
	result, err := replay.Run(file, cfg, o)
	if err != nil {
		return err
	}
	if err := showReplay(cmd.OutOrStdout(), result); err != nil {
		return err
	}
	if result.Difference != nil {
		return coded{errors.New(""), 1}
	}
	return nil
}

func showReplay(out io.Writer, r *replay.Result) error {
	for _, line := range r.Begun {
		fmt.Fprintln(out, line)
	}
	if r.Difference != nil {
		_, err := fmt.Fprintln(out, r.Difference)
		return err
	}
	_, err := fmt.Fprintf(out, "agrees: %d packets heard; %d advertisements and %d gratuitous ARPs as expected; %d transitions\n", r.Heard, r.Adverts, r.GARPs, r.Transitions)
	return err
}
