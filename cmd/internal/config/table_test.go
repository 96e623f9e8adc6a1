package config

import (
	"os"
	"strings"
	"testing"
)

// TestEveryKeywordIsBound holds each row of keywords.tsv against the struct of its block:
// what is read must have a field.
func TestEveryKeywordIsBound(t *testing.T) {
	for name, tab := range tables() {
		for _, w := range tab.rows {
			switch w.status {
			case done, later:
				if w.index == nil && !w.self && w.kind.name != "syntax" {
					t.Errorf("%s %s: no field", name, w.keyword)
				}
			case accepted, refused:
				if w.note == "" {
					t.Errorf("%s %s: is %s without a reason", name, w.keyword, w.status)
				}
			case alias:
			default:
				t.Errorf("%s %s: status %q", name, w.keyword, w.status)
			}
			if w.fallback == "global" && w.global == nil {
				t.Errorf("%s %s: no such global", name, w.keyword)
			}
			if w.meaning == "" {
				t.Errorf("%s %s: no meaning", name, w.keyword)
			}
		}
	}
}

// blockOf is the name that a block of the reference has in keywords.tsv.
func blockOf(path string) string {
	last := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case path == "(top)":
		return "file"
	case strings.HasSuffix(last, "ipaddress") || strings.HasSuffix(last, "ipaddress_excluded"):
		return "address"
	case strings.HasSuffix(last, "_routes"):
		return "route"
	case strings.HasSuffix(last, "_rules"):
		return "rule"
	}
	return last
}

// TestEveryKeywordOfTheReference holds the tables against the list of all keywords of
// keepalived, old and new.
func TestEveryKeywordOfTheReference(t *testing.T) {
	text, err := os.ReadFile("testdata/keepalived-keywords.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		path, keyword, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		n++
		if tab := tables()[blockOf(path)]; tab == nil || tab.byName[keyword] == nil {
			t.Errorf("%s: %s is in no table", path, keyword)
		}
	}
	if n < 700 {
		t.Errorf("only %d keywords", n)
	}
}

// TestCompatibilityTableIsFresh holds the document against the tables.
func TestCompatibilityTableIsFresh(t *testing.T) {
	const file = "../../../docs/compatibility.md"
	var b strings.Builder
	if err := Compatibility(&b); err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != b.String() {
		t.Errorf("%s is stale: make golden", file)
	}
}
