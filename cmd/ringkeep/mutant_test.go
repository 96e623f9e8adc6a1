package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// originals are the files that mutants are made of: the seed files, and the samples of
// Debian's keepalived where they are installed.
func originals(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../internal/config/testdata/seed/*.conf", "/usr/share/doc/keepalived/samples/keepalived.conf.*"} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, list...)
	}
	slices.Sort(files)
	return files
}

// mutant is a file with one mistake in it.
type mutant struct {
	file, mistake string
	line          int // of the mistake, from 1
	text          string
}

// String names it so that it can be made again.
func (m mutant) String() string {
	return fmt.Sprintf("%s, %s at line %d", filepath.Base(m.file), m.mistake, m.line)
}

var mistakes = []struct {
	name string
	make func(*rand.Rand, []string, int) bool // changes the line, or others too
}{
	{"dropped brace", dropBrace}, {"misspelt", misspell}, {"moved line", moveLine}, {"wrong unit", wrongUnit},
	{"second name", secondName}, {"changed number", changeNumber}, {"dropped word", dropWord}, {"dropped line", dropLine},
	{"swapped words", swapWords}, {"doubled line", doubleLine}, {"lost quote", loseQuote}, {"shouted", shout},
}

// mutate makes mutant number n of the files. The same number gives the same mutant.
func mutate(files []string, texts map[string]string, n int) mutant {
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	for {
		file := files[rnd.IntN(len(files))]
		m := mistakes[n%len(mistakes)]
		lines := strings.Split(texts[file], "\n")
		at := rnd.IntN(len(lines))
		if words := strings.Fields(lines[at]); len(words) == 0 || strings.ContainsAny(words[0][:1], "#!") {
			continue
		}
		if m.make(rnd, lines, at) {
			return mutant{file, m.name, at + 1, strings.Join(lines, "\n") + "\n"}
		}
		if rnd.IntN(50) == 0 { // no line of the files has what this mistake needs
			n++
		}
	}
}

func dropBrace(_ *rand.Rand, lines []string, at int) bool {
	i := strings.LastIndexAny(lines[at], "{}")
	if i < 0 {
		return false
	}
	lines[at] = lines[at][:i] + lines[at][i+1:]
	return true
}

func misspell(rnd *rand.Rand, lines []string, at int) bool {
	words := strings.Fields(lines[at])
	w := []byte(words[0])
	if len(w) < 3 {
		return false
	}
	i := rnd.IntN(len(w) - 1)
	if w[i] == w[i+1] {
		return false
	}
	w[i], w[i+1] = w[i+1], w[i]
	lines[at] = strings.Replace(lines[at], words[0], string(w), 1)
	return true
}

func moveLine(rnd *rand.Rand, lines []string, at int) bool {
	if strings.ContainsAny(lines[at], "{}") {
		return false
	}
	to := rnd.IntN(len(lines))
	l := lines[at]
	copy(lines, slices.Insert(slices.Delete(slices.Clone(lines), at, at+1), to, l))
	return to != at
}

// digits finds a number of its own in a line.
func digits(line string) (from, to int) {
	for _, w := range strings.Fields(line)[1:] {
		if strings.Trim(w, "0123456789") == "" {
			from = strings.LastIndex(line, w)
			return from, from + len(w)
		}
	}
	return 0, 0
}

func wrongUnit(rnd *rand.Rand, lines []string, at int) bool {
	_, to := digits(lines[at])
	if to == 0 {
		return false
	}
	lines[at] = lines[at][:to] + []string{"s", "ms", "%", "000000", ".5", "k"}[rnd.IntN(6)] + lines[at][to:]
	return true
}

func changeNumber(rnd *rand.Rand, lines []string, at int) bool {
	from, to := digits(lines[at])
	if to == 0 {
		return false
	}
	lines[at] = lines[at][:from] + []string{"0", "-1", "1", "255", "256", "65536", "4294967296", "99999999999999999999", "07"}[rnd.IntN(9)] + lines[at][to:]
	return true
}

// secondName gives a block the name of another of its kind.
func secondName(rnd *rand.Rand, lines []string, at int) bool {
	words := strings.Fields(lines[at])
	if len(words) < 2 || !strings.Contains(lines[at], "{") {
		return false
	}
	for _, i := range rnd.Perm(len(lines)) {
		other := strings.Fields(lines[i])
		if i != at && len(other) > 1 && other[0] == words[0] && other[1] != words[1] {
			lines[at] = lines[i]
			return true
		}
	}
	return false
}

func dropWord(rnd *rand.Rand, lines []string, at int) bool {
	words := strings.Fields(lines[at])
	if len(words) < 2 {
		return false
	}
	lines[at] = strings.Join(slices.Delete(words, 1, 2), " ")
	return true
}

func dropLine(_ *rand.Rand, lines []string, at int) bool {
	lines[at] = ""
	return true
}

func swapWords(_ *rand.Rand, lines []string, at int) bool {
	words := strings.Fields(lines[at])
	if len(words) < 2 || strings.Contains(lines[at], "{") {
		return false
	}
	words[0], words[1] = words[1], words[0]
	lines[at] = strings.Join(words, " ")
	return true
}

func doubleLine(_ *rand.Rand, lines []string, at int) bool {
	lines[at] += "\n" + lines[at]
	return true
}

func loseQuote(_ *rand.Rand, lines []string, at int) bool {
	i := strings.IndexAny(lines[at], `"'`)
	if i < 0 {
		return false
	}
	lines[at] = lines[at][:i] + lines[at][i+1:]
	return true
}

func shout(_ *rand.Rand, lines []string, at int) bool {
	up := strings.ToUpper(lines[at])
	changed := up != lines[at]
	lines[at] = up
	return changed
}

func read(t testing.TB, files []string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	return texts
}
