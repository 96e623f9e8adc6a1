package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestCompare holds what is said of the files of several nodes, and the table of
// outcomes, against the text behind them.
func TestCompare(t *testing.T) {
	paths, _ := filepath.Glob("testdata/compare/*.txtar")
	if len(paths) == 0 {
		t.Fatal("no files")
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := &a.Files[len(a.Files)-1]
			var files []File
			for _, f := range a.Files[:len(a.Files)-1] {
				cfg, messages := Parse(f.Name, f.Data, Options{})
				for _, m := range messages {
					if m.Level == Error {
						t.Error(m)
					}
				}
				files = append(files, File{f.Name, cfg})
			}
			got := compared(files)
			if *rewrite {
				want.Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(want.Data) {
				t.Errorf("got\n%s\nwant\n%s", got, want.Data)
			}
		})
	}
}

func compared(files []File) string {
	var b strings.Builder
	for _, m := range Compare(files) {
		fmt.Fprintln(&b, m)
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, o := range Outcomes(files) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t-> %s\t%s\n", o.Router, o.Failure, o.Node, strings.Join(o.Priorities, "\t"), o.Master, o.Flag)
	}
	w.Flush()
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
