package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// The exit codes of check.
const (
	exitErrors     = 1 // the daemon would not run with a file
	exitUnreadable = 2
)

type checker struct {
	strict, json, print, here bool
	explain                   int
	id, dataplane             string
	out, errs                 io.Writer
}

// report is what check --json writes.
type report struct {
	Files    []fileReport     `json:"files"`
	Compared []config.Message `json:"compared,omitempty"` // several files, with each other
	Outcomes []config.Outcome `json:"outcomes,omitempty"`
}

type fileReport struct {
	File     string           `json:"file"`
	Runs     bool             `json:"runs"` // the daemon would run with it
	Messages []config.Message `json:"messages"`
}

func checkCommand() *cobra.Command {
	c := &checker{}
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Read keepalived.conf files, say what is wrong with them, and compare the nodes",
		Long: `Read keepalived.conf files and say what is wrong with them: errors (the daemon
would not run with the file), warnings (it runs, but hardly as meant: the line is
ignored, altered or cut) and notices.

Given the files of all nodes of a cluster, compare them with each other - VRID,
addresses, version, interval, authentication, unicast peers, priorities, services -
and list what each failure of a tracked interface, script, process or BFD session
does: who is MASTER then, and which failures never move the addresses.

The exit status is 0 without errors, 1 with errors (--strict: or warnings), 2 if a
file cannot be read.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			c.out, c.errs = cmd.OutOrStdout(), cmd.ErrOrStderr()
			switch {
			case c.explain != 0 && len(files) != 1:
				return fmt.Errorf("--explain takes one file")
			case c.explain != 0:
				return c.explainLine(files[0])
			}
			return c.check(files)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.strict, "strict", false, "warnings count as errors")
	f.BoolVar(&c.json, "json", false, "write the findings as JSON")
	f.BoolVar(&c.print, "print", false, "write the effective configuration, every default filled in; findings go to standard error")
	f.BoolVar(&c.here, "here", false, "compare with this machine, too: interfaces, scripts and who could change them")
	f.IntVar(&c.explain, "explain", 0, "say what one `line` does, and what its default would be")
	f.StringVarP(&c.id, "config-id", "i", "", "the `id` of lines that start with @ID (default the host name up to its first dot)")
	f.StringVar(&c.dataplane, "dataplane", "auto", "what run would be given: ring, ipvs or auto")
	return cmd
}

func (c *checker) options() (o config.Options, err error) {
	o = config.Options{ConfigID: c.id, Regex: tryRegex}
	if o.IPVS, err = kernelServes(c.dataplane); err != nil {
		return o, err
	}
	if c.here {
		h, err := thisHost()
		if err != nil {
			return o, err
		}
		o.Host = h
	}
	return o, nil
}

func (c *checker) check(names []string) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	var all report
	var files []config.File
	code := 0
	for _, name := range names {
		cfg, messages, err := config.Load(name, o)
		if err != nil {
			fmt.Fprintln(c.errs, "ringkeep:", err)
			code = exitUnreadable
			continue
		}
		errors, warnings := count(messages)
		if errors > 0 || c.strict && warnings > 0 {
			code = max(code, exitErrors)
		}
		all.Files = append(all.Files, fileReport{name, errors == 0, messages})
		files = append(files, config.File{Name: name, Config: cfg})
	}
	if len(files) > 1 {
		all.Compared = config.Compare(files)
		if _, warnings := count(all.Compared); c.strict && warnings > 0 {
			code = max(code, exitErrors)
		}
	}
	all.Outcomes = config.Outcomes(files)
	if err := c.write(all, files); err != nil {
		return err
	}
	if code != 0 {
		return coded{fmt.Errorf(""), code}
	}
	return nil
}

func count(messages []config.Message) (errors, warnings int) {
	for _, m := range messages {
		switch m.Level {
		case config.Error:
			errors++
		case config.Warning:
			warnings++
		}
	}
	return errors, warnings
}

func (c *checker) write(all report, files []config.File) error {
	if c.json {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	to := c.out
	if c.print {
		to = c.errs
	}
	for _, f := range all.Files {
		show(to, f.Messages)
		errors, warnings := count(f.Messages)
		fmt.Fprintf(to, "%s: %s\n", f.File, summary(errors, warnings))
	}
	if len(all.Compared) > 0 {
		fmt.Fprintln(to, "\nbetween the files:")
		show(to, all.Compared)
	} else if len(files) > 1 {
		fmt.Fprintln(to, "\nbetween the files: nothing to remark")
	}
	if c.print {
		for _, f := range files {
			if err := f.Config.Print(c.out); err != nil {
				return err
			}
		}
		return nil
	}
	if len(files) > 1 {
		table(to, all.Outcomes, files)
	}
	return nil
}

func show(out io.Writer, messages []config.Message) {
	for _, m := range messages {
		fmt.Fprintf(out, "%v\n%s", m, m.Excerpt())
	}
}

func summary(errors, warnings int) string {
	switch {
	case errors > 0:
		return fmt.Sprintf("%d error(s), %d warning(s): the daemon would not run", errors, warnings)
	case warnings > 0:
		return fmt.Sprintf("ok, with %d warning(s)", warnings)
	}
	return "ok"
}

// table writes the outcomes: what fails where, and who is MASTER then.
func table(out io.Writer, outcomes []config.Outcome, files []config.File) {
	if len(outcomes) == 0 {
		return
	}
	fmt.Fprintln(out, "\nwhat one failure does (effective priorities, and the MASTER):")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := []string{"router", "fails", "on"}
	for _, f := range files {
		head = append(head, f.Name)
	}
	fmt.Fprintln(w, strings.Join(append(head, "MASTER", ""), "\t"))
	for _, o := range outcomes {
		cells := append([]string{o.Router, o.Failure, o.Node}, o.Priorities...)
		fmt.Fprintln(w, strings.Join(append(cells, o.Master, o.Flag), "\t"))
	}
	w.Flush()
}

func (c *checker) explainLine(name string) error {
	text, err := config.Read(name)
	if err != nil {
		return err
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	list, err := config.Explain(name, text, c.explain, o)
	if err != nil {
		return err
	}
	for _, one := range list {
		fmt.Fprintln(c.out, one)
	}
	return nil
}

// load reads a configuration and prints its messages. The error is one line: the
// file cannot be read, or how many errors keep the daemon from running with it.
func load(file string, o config.Options, out io.Writer) (*config.Config, []config.Message, error) {
	cfg, messages, err := config.Load(file, o)
	if err != nil {
		return nil, nil, err
	}
	show(out, messages)
	if errors, _ := count(messages); errors > 0 {
		return nil, messages, fmt.Errorf("%s: %d error(s): not usable", file, errors)
	}
	return cfg, messages, nil
}
