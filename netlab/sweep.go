package netlab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mostRuns bounds how many scenarios a file with sweeps becomes.
const mostRuns = 1000

// LoadAll reads a scenario file and writes its sweeps out: sweep NAME VALUE... puts each of
// the values for $NAME, in the statements and in the files. A file without sweeps is one
// scenario.
func LoadAll(path string) ([]*Scenario, error) {
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte("sweep")) {
		s, err := Load(path)
		if err != nil {
			return nil, err
		}
		return []*Scenario{s}, nil
	}
	return ParseAll(path, text)
}

// ParseAll is LoadAll of a text.
func ParseAll(name string, text []byte) ([]*Scenario, error) {
	type variant struct{ name, text string }
	list := []variant{{name, string(text)}}
	head, _, _ := strings.Cut(string(text), "\n-- ")
	for i, line := range strings.Split(head, "\n") {
		st := Statement{line: i + 1, file: name}
		if st.split(line); len(st.Words) == 0 || st.Words[0] != "sweep" {
			continue
		}
		if len(st.Words) < forms["sweep"].least {
			return nil, st.Errorf(0, "wrong number of words: %s", forms["sweep"].usage)
		}
		var next []variant
		for _, v := range list {
			for _, value := range st.Words[2:] {
				next = append(next, variant{
					fmt.Sprintf("%s %s=%s", v.name, st.Words[1], value), strings.ReplaceAll(v.text, "$"+st.Words[1], value),
				})
			}
		}
		if list = next; len(list) > mostRuns {
			return nil, st.Errorf(0, "that makes more than %d runs", mostRuns)
		}
	}
	var all []*Scenario
	for _, v := range list {
		s, err := Parse(name, []byte(v.text))
		if err != nil {
			return nil, err
		}
		s.Name = v.name
		all = append(all, s)
	}
	return all, nil
}

// Repeat is how often a scenario is to be played, and with which seed first.
func (s *Scenario) Repeat() (n int, seed uint64) {
	for _, st := range s.Statements {
		if st.Words[0] == "repeat" {
			n, seed, _ = repeat(st.Words) // checked by Parse
			return n, seed
		}
	}
	return 1, 1
}

func repeat(w []string) (n int, seed uint64, err error) {
	n, err = strconv.Atoi(w[1])
	if err != nil || n < 1 {
		return 0, 0, fmt.Errorf("%s: must be a number of runs", w[1])
	}
	if len(w) == 2 {
		return n, 1, nil
	}
	if len(w) != 4 || w[2] != "seed" {
		return 0, 0, fmt.Errorf("must be %s", forms["repeat"].usage)
	}
	if seed, err = strconv.ParseUint(w[3], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("seed %s: must be a number", w[3])
	}
	return n, seed, nil
}
