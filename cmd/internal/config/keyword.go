package config

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
)

// table maps the keywords of a block to what they do with their line. It is the
// single source for what this version understands.
type table[T any] map[string]func(r *reader, s *stmt, v T)

//go:embed keywords.tsv
var keywordsTSV string

// known lists keepalived's keywords of a block.
func known(block string) []string {
	var list []string
	for line := range strings.Lines(keywordsTSV) {
		b, k, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if b == block {
			list = append(list, k)
		}
	}
	return list
}

// walk reads the statements of a block by its table. path names the block as
// keywords.tsv does.
func walk[T any](r *reader, path string, block []stmt, t table[T], v T) {
	for i := range block {
		s := &block[i]
		if set, ok := t[s.keyword()]; ok {
			set(r, s, v)
			continue
		}
		r.unknown(path, s, slices.Collect(maps.Keys(t)))
	}
}

// unknown tells about a keyword that no table has.
func (r *reader) unknown(path string, s *stmt, ours []string) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	if name == "(top)" {
		name = "the file"
	}
	all := known(path)
	if slices.Contains(all, s.keyword()) {
		level := Notice
		if path == "(top)" {
			level = Warning // a whole block is missing
		}
		r.say(level, s.pos(), "%s in %s: has no effect in this version", s.keyword(), name)
		return
	}
	near := nearest(s.keyword(), append(all, ours...))
	if near != "" {
		near = " (did you mean \"" + near + "\"?)"
	}
	r.say(Warning, s.pos(), "unknown keyword %q in %s%s", s.keyword(), name, near)
}

// nearest returns the keyword with the fewest typing errors, "" if none is near.
func nearest(s string, words []string) string {
	best, least := "", 1+min(3, (len(s)+2)/3)
	slices.Sort(words)
	for _, w := range words {
		if d := distance(s, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts insertions, deletions, substitutions and swaps of neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// The makers of table entries: each stores one value of the line.

func setText[T any](field func(T) *string) func(*reader, *stmt, T) {
	return func(r *reader, s *stmt, v T) {
		if t, ok := r.text(s); ok {
			*field(v) = t
		}
	}
}

func setFlag[T any](field func(T) *bool) func(*reader, *stmt, T) {
	return func(r *reader, s *stmt, v T) {
		if on, ok := r.flag(s); ok {
			*field(v) = on
		}
	}
}

func setNumber[T any, N ~int | ~uint8](lo, hi int, field func(T) *N) func(*reader, *stmt, T) {
	return func(r *reader, s *stmt, v T) {
		if n, ok := r.number(s, lo, hi); ok {
			*field(v) = N(n)
		}
	}
}

func setCommand[T any](field func(T) **Command) func(*reader, *stmt, T) {
	return func(r *reader, s *stmt, v T) {
		if c := r.command(s); c != nil {
			*field(v) = c
		}
	}
}
