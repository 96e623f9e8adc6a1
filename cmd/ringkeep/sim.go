package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/sim"
	"github.com/ringkeep/ringkeep/netlab"
)

func simCommand() *cobra.Command {
	var seeds, dir string
	var replay uint64
	var verbose, invariants, first bool
	cmd := &cobra.Command{
		Use:   "sim FILE...",
		Short: "Play scenarios in virtual time, with many seeds",
		Long: `Play scenario files of the lab in virtual time: the daemon's nodes over a wire in
memory. Everything that is left to chance - delays, losses, ports - comes from the
seed: --replay SEED repeats a run byte for byte, with its time line. A run that fails
is shrunk to the statements that matter. The exit status is 1 if any run failed.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			from, to, err := seedRange(seeds)
			if err != nil {
				return err
			}
			failed := false
			var list []*netlab.Scenario
			for _, file := range files {
				all, err := netlab.LoadAll(file)
				if err != nil {
					return err
				}
				list = append(list, all...)
			}
			for _, s := range list {
				if s.Needs("namespaces") {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: needs namespaces (scripts, or what a kernel does): left out\n", s.Name)
					continue
				}
				if n, seed := s.Repeat(); !cmd.Flags().Changed("seeds") {
					from, to = seed, seed+uint64(n)-1
				}
				if cmd.Flags().Changed("replay") {
					passed, err := replayOne(cmd.Context(), cmd.OutOrStdout(), s, replay, dir)
					if err != nil {
						return err
					}
					failed = !passed || failed
					continue
				}
				if failed && first || cmd.Context().Err() != nil {
					break
				}
				failed = !playSeeds(cmd, s, from, to, verbose, invariants, first) || failed
			}
			if failed {
				return coded{fmt.Errorf(""), 1}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&seeds, "seeds", "1", "a `range` such as 1..10000 (default what the scenario's repeat says, or 1)")
	f.Uint64Var(&replay, "replay", 0, "play one `seed` and print its time line")
	f.StringVar(&dir, "report", "", "with --replay: write report.html, report.svg, report.txt and lab.pcapng into `directory`")
	f.BoolVarP(&verbose, "verbose", "v", false, "print what was measured")
	f.BoolVar(&first, "first", false, "end at the first scenario that fails, without shrinking it")
	f.BoolVar(&invariants, "invariants", false, "judge the invariants only, not what the statements expect")
	return cmd
}

func seedRange(s string) (from, to uint64, err error) {
	lo, hi, ranged := strings.Cut(s, "..")
	if !ranged {
		hi = lo
	}
	from, err = strconv.ParseUint(lo, 10, 64)
	if err == nil {
		to, err = strconv.ParseUint(hi, 10, 64)
	}
	if err != nil || to < from {
		return 0, 0, fmt.Errorf("--seeds %s: must be a number or a range such as 1..10000", s)
	}
	return from, to, nil
}

// replayOne plays one seed with its time line; with a directory it leaves the report and
// the capture there.
func replayOne(ctx context.Context, out io.Writer, s *netlab.Scenario, seed uint64, dir string) (passed bool, err error) {
	o := sim.Options{Seed: seed, Out: out, Done: ctx.Done()}
	var r *sim.Result
	if dir == "" {
		r = sim.Run(s, o)
	} else {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return false, err
		}
		capture := filepath.Join(dir, "lab.pcapng")
		f, err := os.Create(capture)
		if err != nil {
			return false, err
		}
		o.Record, o.Capture = true, f
		r = sim.Run(s, o)
		r.Report.Capture = capture
		page, err := r.Report.Files(dir)
		if err := errors.Join(f.Close(), err); err != nil {
			return false, err
		}
		fmt.Fprintf(out, "capture: %s\nreport: %s\n", capture, page)
	}
	if r.Failure != nil {
		fmt.Fprintf(out, "FAILED: %v\n", r.Failure)
		return false, nil
	}
	fmt.Fprintln(out, "PASSED")
	return true, nil
}

// batch counts what was played of a range of seeds.
type batch struct {
	scenario       *netlab.Scenario
	start          time.Time
	seeds          uint64
	played, frames atomic.Uint64
	virtual        atomic.Int64 // nanoseconds
}

func (b *batch) add(r *sim.Result) {
	b.played.Add(1)
	b.frames.Add(r.Frames)
	b.virtual.Add(int64(r.Elapsed))
}

func (b *batch) rate() float64 { return float64(b.played.Load()) / time.Since(b.start).Seconds() }

func (b *batch) time() time.Duration { return time.Duration(b.virtual.Load()).Round(time.Second) }

// soFar is the line that says how far it is.
func (b *batch) soFar() string {
	return fmt.Sprintf("%d of %d seeds, %.0f seeds/s, %v of virtual time: %s", b.played.Load(), b.seeds, b.rate(), b.time(), b.scenario.Name)
}

// playSeeds plays a range of seeds on all processors and stops at the first failure.
func playSeeds(cmd *cobra.Command, s *netlab.Scenario, from, to uint64, verbose, invariantsOnly, plain bool) bool {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	b := &batch{scenario: s, start: time.Now(), seeds: to - from + 1}
	var next atomic.Uint64
	var mu sync.Mutex
	var worst *sim.Result
	next.Store(from)
	done := func() {}
	if !verbose { // its lines would run into this one
		done = progress(cmd.ErrOrStderr(), b.soFar)
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed <= to && ctx.Err() == nil; seed = next.Add(1) - 1 {
				r := sim.Run(s, sim.Options{Seed: seed, InvariantsOnly: invariantsOnly, Done: ctx.Done()})
				b.add(r)
				if r.Failure == nil {
					if verbose {
						mu.Lock()
						for _, m := range r.Measured {
							fmt.Fprintf(out, "seed %d: %s\n", seed, netlab.Found(m))
						}
						mu.Unlock()
					}
					continue
				}
				mu.Lock()
				if worst == nil || seed < worst.Seed {
					worst = r
				}
				mu.Unlock()
				return
			}
		})
	}
	wg.Wait()
	done()
	if ctx.Err() != nil {
		fmt.Fprintf(out, "interrupted: %s\n", b.soFar())
		return false
	}
	if worst != nil {
		fmt.Fprintf(out, "%s: FAILED with seed %d: %v\n", s.Name, worst.Seed, worst.Failure)
		if plain {
			return false
		}
		fmt.Fprintf(out, "what matters of it:\n%s", sim.Shrink(s, worst))
		fmt.Fprintf(out, "ringkeep sim --replay %d %s\n", worst.Seed, s.File)
		return false
	}
	fmt.Fprintf(out, "%s: %d seeds passed in %v: %.0f seeds/s, %v of virtual time, %d frames\n",
		s.Name, b.seeds, time.Since(b.start).Round(time.Millisecond), b.rate(), b.time(), b.frames.Load())
	return true
}
