package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Bench writes all rounds in Go's benchmark format, case by case, as benchstat reads it.
func (r *Report) Bench(w io.Writer) error {
	if err := r.head(w); err != nil {
		return err
	}
	for _, s := range r.Series {
		for i := range s.Rounds {
			if err := s.line(w, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// JSON writes the report as it is.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Text writes medians with their spread, ratios and goals for people.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	for _, group := range r.groups() {
		fmt.Fprintf(&b, "\n%s%s\n", group[0].Kind, spaced(group[0].group()))
		for _, s := range group {
			r.textSeries(&b, s)
		}
	}
	if len(r.Goals) > 0 {
		b.WriteString("\ngoals\n")
	}
	for _, g := range r.Goals {
		fmt.Fprintf(&b, "  %s %-62s %8s  %s %s\n", mark(g.Met), g.Text, number(g.Got), bound(g), number(g.Bound))
	}
	for _, s := range r.Remarks {
		fmt.Fprintf(&b, "\n%s\n", s)
	}
	fmt.Fprintf(&b, "\n%s, %d cores, kernel %s, %s, version %s, load %s before and %s after, %.0f s\n", r.CPU, r.Cores, r.Kernel, r.Go, r.Version, r.Load[0], r.Load[1], r.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}

func mark(met bool) string {
	if met {
		return "✓"
	}
	return "✗"
}

func bound(g Goal) string {
	if g.Least {
		return "at least"
	}
	return "at most"
}

func spaced(group string) string { return strings.ReplaceAll(group, "/", " ") }

func (r *Report) textSeries(b *strings.Builder, s *Series) {
	fmt.Fprintf(b, "  %s\n", s.label())
	if s.Failed != "" {
		fmt.Fprintf(b, "    not measured: %s\n", s.Failed)
	}
	for _, m := range s.Median.metrics() {
		fmt.Fprintf(b, "    %12s %-15s (%s to %s)", number(s.Median[m]), m, number(s.Low[m]), number(s.High[m]))
		for _, ratio := range r.Ratios {
			if ratio.Name == s.Name && ratio.Metric == m {
				fmt.Fprintf(b, "  %.2f of %s", ratio.Median, ratio.Beside)
			}
		}
		b.WriteString("\n")
	}
}

// label is what tells a series from the others of its group.
func (s *Series) label() string {
	if !director(s.Forwarder) {
		return s.Forwarder
	}
	return fmt.Sprintf("%s %s %s", s.Forwarder, s.Method, s.Scheduler)
}

// Files writes the report into a directory, which it makes: bench.txt, bench.json and
// bench.html, whose path it returns.
func (r *Report) Files(dir string) (page string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, write := range map[string]func(io.Writer) error{"bench.txt": r.Bench, "bench.json": r.JSON, "bench.html": r.HTML} {
		if err := save(filepath.Join(dir, name), write); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "bench.html"), nil
}

func save(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
