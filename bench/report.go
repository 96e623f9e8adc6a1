package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what a run found. Times are in ns unless a metric's unit says otherwise.
type Report struct {
	Started time.Time
	Seconds float64 // that the run took
	Version string
	Command string
	Kernel  string
	CPU     string
	Cores   int
	Go      string
	Load    [2]string // of the machine, before and after: /proc/loadavg
	Remarks []string  // what was left out

	Series []*Series
	Ratios []Ratio
	Goals  []Goal
}

// Series is a case in all its rounds.
type Series struct {
	Name string
	Case
	Rounds            []Round
	Median, Low, High Values
	Failed            string // why there are no more rounds; "" if there are all
}

// Round is one measurement: N packets, answers or streams, and what they gave.
type Round struct {
	N      int
	Values Values
}

// Ratio is a case of the daemon beside that of another forwarder, round by round.
type Ratio struct {
	Name              string
	Beside            string // a forwarder
	Metric            string
	Median, Low, High float64
}

func newReport(o Options) *Report {
	return &Report{
		Started: time.Now(), Version: o.Version, Command: o.Command, Kernel: kernelRelease(), CPU: cpuModel(),
		Cores: runtime.NumCPU(), Go: runtime.Version(), Load: [2]string{load()},
	}
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(text) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func (r *Report) remark(format string, args ...any) {
	r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
}

func (r *Report) add(c Case) { r.Series = append(r.Series, &Series{Name: c.Name(), Case: c}) }

func (r *Report) series(c Case) *Series {
	i := slices.IndexFunc(r.Series, func(s *Series) bool { return s.Case == c })
	return r.Series[i]
}

func (r *Report) failed(c Case) bool { return r.series(c).Failed != "" }

// head writes the configuration lines of Go's benchmark format.
func (r *Report) head(w io.Writer) error {
	_, err := fmt.Fprintf(w, "goos: linux\ngoarch: %s\npkg: github.com/ringkeep/ringkeep/bench\ncpu: %s\nkernel: %s\ncores: %d\nversion: %s\ncommand: %s\nload: %s\n",
		runtime.GOARCH, r.CPU, r.Kernel, r.Cores, r.Version, r.Command, r.Load[0])
	return err
}

// take adds a round and writes its line.
func (r *Report) take(w io.Writer, c Case, n int, v Values, failure error) error {
	s := r.series(c)
	if failure != nil {
		s.Failed = failure.Error()
		_, err := fmt.Fprintf(w, "# %s: %s\n", s.Name, strings.ReplaceAll(s.Failed, "\n", "\n# "))
		return err
	}
	s.Rounds = append(s.Rounds, Round{n, v})
	return s.line(w, len(s.Rounds)-1)
}

// line writes a round in Go's benchmark format.
func (s *Series) line(w io.Writer, round int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark%s\t%d", s.Name, s.Rounds[round].N)
	for _, m := range s.Rounds[round].Values.metrics() {
		fmt.Fprintf(&b, "\t%s %s", number(s.Rounds[round].Values[m]), m)
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// order is that of the metrics on a line.
var order = []string{CPU, LoopCPU, Packets, ConnCPU, Conns, P50, P99, Worst, Lost, GCs, FillP99, FillMax, FillGCs, ConnSize, Bytes, RestCPU, Resident}

func (v Values) metrics() []string {
	return slices.DeleteFunc(slices.Clone(order), func(m string) bool { _, ok := v[m]; return !ok })
}

// number is a value with what one can believe of it.
func number(f float64) string {
	if f == 0 || f >= 100 || f <= -100 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.3g", f)
}

// finish computes medians and what is compared.
func (r *Report) finish() {
	r.Seconds, r.Load[1] = time.Since(r.Started).Seconds(), load()
	for _, s := range r.Series {
		s.summarise()
	}
	for _, ours := range r.Series {
		if ours.Forwarder == Ringkeep {
			r.compare(ours)
		}
	}
	r.Goals = goals(r)
}

func (s *Series) summarise() {
	s.Median, s.Low, s.High = Values{}, Values{}, Values{}
	all := map[string][]float64{}
	for _, round := range s.Rounds {
		for m, v := range round.Values {
			all[m] = append(all[m], v)
		}
	}
	for m, list := range all {
		s.Median[m], s.Low[m], s.High[m] = spread(list)
	}
}

// spread is the median, the least and the most of a list, which it sorts.
func spread(list []float64) (median, low, high float64) {
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2, list[0], list[n-1]
}

// compared are the metrics of which a ratio means something.
var compared = []string{CPU, LoopCPU, Packets, ConnCPU, Conns, P50, P99, Worst, Bytes}

// compare adds the ratios to the other forwarders of the same kind and group.
func (r *Report) compare(ours *Series) {
	for _, other := range r.Series {
		if other.Forwarder == Ringkeep || other.Kind != ours.Kind || other.group() != ours.group() {
			continue
		}
		if director(other.Forwarder) && (other.Method != ours.Method || other.Scheduler != ours.Scheduler) {
			continue
		}
		for _, m := range compared {
			var list []float64
			for i := range min(len(ours.Rounds), len(other.Rounds)) {
				a, ok := ours.Rounds[i].Values[m]
				if b := other.Rounds[i].Values[m]; ok && b > 0 {
					list = append(list, a/b)
				}
			}
			if len(list) > 0 {
				ratio := Ratio{Name: ours.Name, Beside: other.Forwarder, Metric: m}
				ratio.Median, ratio.Low, ratio.High = spread(list)
				r.Ratios = append(r.Ratios, ratio)
			}
		}
	}
}

// groups are the series of a kind that are compared with each other, in the order of the
// plan.
func (r *Report) groups() [][]*Series {
	var list [][]*Series
	at := map[string]int{}
	for _, s := range r.Series {
		key := string(s.Kind) + s.group()
		i, ok := at[key]
		if !ok {
			i = len(list)
			at[key] = i
			list = append(list, nil)
		}
		list[i] = append(list[i], s)
	}
	return list
}

// Goal is what the project wants of itself.
type Goal struct {
	Text  string
	Got   float64
	Bound float64
	Least bool // the bound is the least that is wanted, the most otherwise
	Met   bool
}

// want is a goal before the run: a metric of the daemon's cases of a kind and group, beside
// another forwarder, or by itself.
type want struct {
	kind   Kind
	group  string
	beside string
	metric string
	bound  float64
	least  bool
	text   string
}

var wants = []want{
	{Forward, "/frame=64/flows=10000", GoBare, CPU, 1.15, false, "CPU per packet of 64 bytes, 10,000 flows, beside bare Go"},
	{Forward, "/frame=64/flows=10000", CBare, CPU, 1.25, false, "CPU per packet of 64 bytes, 10,000 flows, beside bare C"},
	{Forward, "/frame=64/flows=1000000", GoBare, CPU, 1.4, false, "CPU per packet of 64 bytes, 1,000,000 flows, beside bare Go"},
	{Forward, "/frame=64/flows=1000000", CBare, CPU, 1.4, false, "CPU per packet of 64 bytes, 1,000,000 flows, beside bare C"},
	{PingPong, "/answers=direct", CBare, P50, 1.3, false, "ping-pong p50 beside bare C"},
	{Bulk, "/answers=direct", Kernel, Bytes, 0.95, true, "TCP bulk beside the kernel's forwarding"},
	{HalfLoad, "/flows=1000000", "", Worst, 1e6, false, "worst latency at half load, ns"},
	{HalfLoad, "/flows=1000000", "", ConnSize, 128, false, "memory of a connection, bytes"},
}

// goals judges what was measured of them with direct routing and wlc.
func goals(r *Report) []Goal {
	var list []Goal
	for _, w := range wants {
		for _, s := range r.Series {
			if s.Forwarder != Ringkeep || s.Method != "DR" || s.Scheduler != scheduler || s.Kind != w.kind || s.group() != w.group {
				continue
			}
			if got, ok := w.of(r, s); ok {
				list = append(list, Goal{w.text, got, w.bound, w.least, cmp.Compare(got, w.bound) <= 0 != w.least})
			}
		}
	}
	return list
}

func (w want) of(r *Report, s *Series) (float64, bool) {
	if w.beside == "" {
		got, ok := s.Median[w.metric]
		return got, ok
	}
	i := slices.IndexFunc(r.Ratios, func(x Ratio) bool { return x.Name == s.Name && x.Beside == w.beside && x.Metric == w.metric })
	if i < 0 {
		return 0, false
	}
	return r.Ratios[i].Median, true
}
