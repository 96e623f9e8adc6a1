package checks

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestRegex(t *testing.T) {
	const page = "HTTP/1.0 200 OK\r\n\r\n<h1>Status: Gr\xfcn</h1>\nline two\n"
	for _, tt := range []struct {
		pattern, words string
		min, max       int
		want           bool
	}{
		{`Status: \w+`, "", 0, 0, true},
		{`^line`, "", 0, 0, false},
		{`^line`, "multiline", 0, 0, true},
		{`two$`, "", 0, 0, true}, // before the last line end
		{`two$`, "dollar_endonly", 0, 0, false},
		{`two\n$`, "dollar_endonly", 0, 0, true},
		{`</h1>$`, "", 0, 0, false},
		{`</h1>$`, "multiline", 0, 0, true},
		{`h1.*two`, "", 0, 0, false},
		{`h1.*two`, "dotall", 0, 0, true},
		{`(?=Status)(?!X)\w+(?<=s):`, "", 0, 0, true},
		{`<(h\d)>.*</\1>`, "", 0, 0, true},
		{`<(?P<tag>h\d)>.*</(?P=tag)>`, "", 0, 0, true},
		{`<(?<tag>h\d)>(S)[^>]*</\k{tag}>`, "", 0, 0, true},
		{`(T)(?<n>T)P/(1).0 (2)(0)\5 OK`, "", 0, 0, true}, // groups count by their place
		{`(?'n'0)\g{1} O`, "", 0, 0, true},
		{`(T)(?<n>T)\k<n>`, "no_auto_capture", 0, 0, false},
		{`\x{48}TTP\x{2f}`, "", 0, 0, true},
		{`Gr\xfcn`, "", 0, 0, true},
		{"Gr\xfcn", "", 0, 0, true},
		{`Gr\wn`, "", 0, 0, false}, // no letter without ucp
		{`[[:upper:]]r.n`, "", 0, 0, true},
		{`[^[:space:]]{4,}n`, "", 0, 0, false},
		{`s t a t u s  # comment`, "extended caseless", 0, 0, true},
		{`\Q</h1>\E\n`, "", 0, 0, true},
		{`200\hOK\R`, "", 0, 0, true},
		{`{`, "", 0, 0, false},
		{`[]x]`, "", 0, 0, false},
		{`HTTP`, "", 1, 0, false},
		{`HTTP`, "", 0, 1, true},
		{`line`, "", 0, 10, false},
		{`OK`, "", 13, 13, true},
		{`Status`, "firstline", 0, 0, false},
		{`OK`, "firstline", 0, 0, true},
		{`line`, "", 10_000, 0, false},
		{`no such words are known`, "nonsense", 0, 0, false},
	} {
		r, err := NewRegex(tt.pattern, RegexOptions{Words: strings.Fields(tt.words), MinOffset: tt.min, MaxOffset: tt.max})
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		if err := r.judge([]byte(page)); (err == nil) != tt.want {
			t.Errorf("%s with %q from %d to %d: %v", tt.pattern, tt.words, tt.min, tt.max, err)
		}
	}
	for _, pattern := range []string{"(", "[a", "a**", "\\", `(?R)`} {
		if _, err := NewRegex(pattern, RegexOptions{}); err == nil {
			t.Errorf("%q is taken", pattern)
		}
	}
}

// Greed shows in where a match ends: what follows decides.
func TestRegexGreed(t *testing.T) {
	for pattern, want := range map[string]string{"a+": "a+?", "a+?b{2}": "a+b{2}?", `[+*]?x{,3}\+`: `[+*]??x\{,3}\+`, "(?:a)*(?=b)": "(?:a)*?(?=b)", "(a)*": "(?<1>a)*?"} {
		tr := translator{pattern: []rune(pattern), lazy: true, names: map[string]int{}, dollar: "$"}
		if got := tr.translate(); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

// An expression that takes for ever ends the check, not the program.
func TestRegexTakesNoLongerThanItMay(t *testing.T) {
	r, err := NewRegex(`^(([a-z])+.)+[A-Z]([a-z])+$`, RegexOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.judge([]byte(strings.Repeat("a", 5000))); err == nil || !strings.Contains(err.Error(), "no result in 1s") {
		t.Errorf("got %v", err)
	}
}

func FuzzRegex(f *testing.F) {
	f.Add(`^(a|b)*?[[:alpha:]]{2,3}\Q.\E$`, "ungreedy", []byte("abab.\n"))
	f.Add(`[^]\]`, "utf", []byte("\xff"))
	f.Fuzz(func(t *testing.T, pattern, words string, text []byte) {
		if len(text) > 100 || len(pattern) > 30 {
			return
		}
		if r, err := NewRegex(pattern, RegexOptions{Words: strings.Fields(words)}); err == nil {
			r.find(text)
		}
	})
}

// TestRegexAsPCRE2 holds the matcher against what PCRE2 has found.
func TestRegexAsPCRE2(t *testing.T) {
	file, err := os.ReadFile("testdata/pcre2.tsv")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(file)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			continue
		}
		pattern, err := strconv.Unquote(f[0])
		text, err2 := strconv.Unquote(f[1])
		if err != nil || err2 != nil {
			t.Fatal(line)
		}
		n++
		r, err := NewRegex(pattern, RegexOptions{Words: strings.Fields(f[2])})
		if err != nil {
			t.Error(err)
			continue
		}
		if found, err := r.find([]byte(text)); err != nil || found != (f[3] == "match") {
			t.Errorf("%s on %s with %q: %t, %v", f[0], f[1], f[2], found, err)
		}
	}
	if n < 800 {
		t.Errorf("%d cases", n)
	}
}
