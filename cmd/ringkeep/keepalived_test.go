package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// verdict is what a program says of a file.
type verdict struct {
	runs    bool // the daemon would run with it
	crashed bool
	lines   map[int][]string // complaints by line; 0 for those without
}

var complaintLine = regexp.MustCompile(`^\((?:([^():]+): )?Line (\d+)\) (.*)$`)

// ofKeepalived asks keepalived -t.
func ofKeepalived(t testing.TB, file string) verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "keepalived", "-t", "-f", file).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatal(ctx.Err())
	}
	v := verdict{lines: map[int][]string{}}
	switch code := exitOf(err); code {
	case 0, 4, 5, 6:
		v.runs = true
	case 2:
	default:
		v.crashed = true
	}
	for line := range strings.SplitSeq(string(out), "\n") {
		if m := complaintLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[2])
			v.lines[n] = append(v.lines[n], m[3])
		} else if line != "" {
			v.lines[0] = append(v.lines[0], line)
		}
	}
	return v
}

func exitOf(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return -1
}

// ofRingkeep reads the file on this machine.
func ofRingkeep(t testing.TB, file string) verdict {
	t.Helper()
	h, err := thisHost()
	if err != nil {
		t.Fatal(err)
	}
	_, messages, err := config.Load(file, config.Options{Host: h})
	if err != nil {
		t.Fatal(err)
	}
	v := verdict{runs: true, lines: map[int][]string{}}
	for _, m := range messages {
		v.lines[m.Pos.Line] = append(v.lines[m.Pos.Line], m.Text)
		if m.Level == config.Error {
			v.runs = false
		}
		if m.Pos.Line < 1 || m.Pos.Column < 1 || m.Text == "" {
			t.Errorf("%s: a message without a place: %v", file, m)
		}
	}
	return v
}

// keepalivedOrSkip skips the test where the peer is missing; on CI it fails.
func keepalivedOrSkip(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("keepalived"); err == nil && os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs keepalived, and root")
	}
	t.Skip("needs keepalived, and root")
}

// agree holds our verdict of a file against keepalived's. Every line that it complains
// of must be among ours, unless the difference is one of those in docs/compatibility.md.
func agree(t *testing.T, what, file, text string) {
	t.Helper()
	k, r := ofKeepalived(t, file), ofRingkeep(t, file)
	braces := r.firstOf(structural)
	if !k.crashed && k.runs != r.runs && braces == 0 && !bareDebug.MatchString(text) {
		t.Errorf("%s: keepalived would run: %v, ringkeep: %v\nkeepalived: %v\nringkeep: %v", what, k.runs, r.runs, k.lines, r.lines)
	}
	opening := openings(text)
	for line, complaints := range k.lines {
		switch {
		case line == 0 || r.lines[line] != nil:
		case r.lines[opening[line]] != nil: // told at the beginning of the block, not at its end
		case braces > 0 && braces <= line+1: // its processes count the braces that follow differently
		default:
			t.Errorf("%s: keepalived complains of line %d, ringkeep does not: %q", what, line, complaints)
		}
	}
	if len(k.lines) > 0 && len(r.lines) == 0 {
		t.Errorf("%s: keepalived complains, ringkeep does not: %v", what, k.lines)
	}
}

var (
	structural = regexp.MustCompile(`has no \{|is not closed|closes no block|is a } missing|its \{ is ignored|\{ has no keyword|does not skip its block|has no block`)
	bareDebug  = regexp.MustCompile(`(?m)^\s*debug\s*$`)
)

// firstOf is the first line with a message that matches, 0 if there is none.
func (v verdict) firstOf(what *regexp.Regexp) int {
	first := 0
	for line, texts := range v.lines {
		for _, text := range texts {
			if what.MatchString(text) && (first == 0 || line < first) {
				first = line
			}
		}
	}
	return first
}

// openings gives for the line of every } the line of its {.
func openings(text string) map[int]int {
	of := map[int]int{}
	var open []int
	for i, line := range strings.Split(text, "\n") {
		for _, c := range line {
			switch {
			case c == '#':
			case c == '{':
				open = append(open, i+1)
			case c == '}' && len(open) > 0:
				of[i+1] = open[len(open)-1]
				open = open[:len(open)-1]
			}
		}
	}
	return of
}

// TestFilesAgreeWithKeepalived takes the seed files and the samples of Debian's package.
func TestFilesAgreeWithKeepalived(t *testing.T) {
	keepalivedOrSkip(t)
	files := originals(t)
	samples := 0
	for file, text := range read(t, files) {
		if strings.HasPrefix(file, "/usr/share") {
			samples++
		}
		name := filepath.Join(t.TempDir(), "keepalived.conf") // without execute bits
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		agree(t, filepath.Base(file), name, text)
	}
	if samples < 20 {
		t.Errorf("only %d samples of the package: is its documentation installed?", samples)
	}
}

var mutantsCompared = flag.Int("mutants", 300, "how many mutants are held against keepalived")

// TestMutantsAgreeWithKeepalived takes a sample of the mutants.
func TestMutantsAgreeWithKeepalived(t *testing.T) {
	keepalivedOrSkip(t)
	t.Parallel()
	files := originals(t)
	texts := read(t, files)
	name := filepath.Join(t.TempDir(), "keepalived.conf")
	for n := range *mutantsCompared {
		m := mutate(files, texts, n)
		if err := os.WriteFile(name, []byte(m.text), 0o600); err != nil {
			t.Fatal(err)
		}
		agree(t, fmt.Sprintf("mutant %d (%v)", n, m), name, m.text)
	}
}

// TestMutantsAreRead holds that no mistake makes the reader panic, hang, or say something
// without a place; and that what it prints reads as the same configuration.
func TestMutantsAreRead(t *testing.T) {
	t.Parallel()
	files := originals(t)
	texts := read(t, files)
	for n := range 20000 {
		m := mutate(files, texts, n)
		cfg, messages := config.Parse("m.conf", []byte(m.text), config.Options{ConfigID: "here"})
		lines := strings.Count(m.text, "\n") + 1
		for _, one := range messages {
			if one.Pos.File != "m.conf" || one.Pos.Line < 1 || one.Pos.Line > lines || one.Pos.Column < 1 || one.Text == "" {
				t.Fatalf("mutant %d (%v): %+v", n, m, one)
			}
		}
		if n%20 == 0 {
			printsTheSame(t, fmt.Sprintf("mutant %d (%v)", n, m), cfg)
		}
	}
}

func printsTheSame(t *testing.T, what string, cfg *config.Config) {
	t.Helper()
	var first, second strings.Builder
	if err := cfg.Print(&first); err != nil {
		t.Fatal(err)
	}
	again, messages := config.Parse("printed.conf", []byte(first.String()), config.Options{ConfigID: "here"})
	if err := again.Print(&second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		a, b := strings.Split(first.String(), "\n"), strings.Split(second.String(), "\n")
		i := 0
		for i < min(len(a), len(b))-1 && a[i] == b[i] {
			i++
		}
		t.Errorf("%s: line %d is printed as %q, and read and printed again as %q\n%v", what, i+1, a[i], b[i], messages)
	}
}
