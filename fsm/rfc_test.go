package fsm

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// requirement is a line of docs/rfc-requirements.tsv: a rule of RFC 9568 or RFC 3768 in
// words of ours, a test that shows it kept and one that shows its opposite refused (or
// the case beside it, where it must not hold), and why one is missing.
type requirement struct {
	id, level, applies, text, kept, refused, note string
}

func requirements(t *testing.T) []requirement {
	t.Helper()
	b, err := os.ReadFile("../docs/rfc-requirements.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var list []requirement
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n")[1:] {
		f := strings.Split(line, "\t")
		if len(f) != 6 && len(f) != 7 {
			t.Fatalf("line %d: %d columns", i+2, len(f))
		}
		f = append(f, "")
		list = append(list, requirement{f[0], f[1], f[2], f[3], f[4], f[5], f[6]})
	}
	return list
}

// reasons are how a note begins that stands in for tests.
var reasons = []string{"deviates ", "no test: ", "optional: "}

func (r requirement) excused() bool {
	for _, why := range reasons {
		if strings.HasPrefix(r.note, why) || strings.Contains(r.note, ". "+why) {
			return true
		}
	}
	return false
}

// Every MUST and SHOULD has both tests, which exist, or the reason why not.
func TestRequirementsAreTraced(t *testing.T) {
	list := requirements(t)
	for _, r := range list {
		for _, where := range []string{r.kept, r.refused} {
			if where != "" {
				exists(t, where)
			} else if !r.excused() {
				t.Errorf("%s: a test is missing, and so is the reason", r.id)
			}
		}
		if strings.HasPrefix(r.note, "optional: ") && r.level != "MAY" {
			t.Errorf("%s: %s is not optional", r.id, r.level)
		}
	}
	// The lists of the two RFCs, sentence by sentence, have this many.
	if len(list) != 203 {
		t.Errorf("%d requirements", len(list))
	}
}

// docs/rfc9568.md is written from the list: -rewrite does.
func TestTraceabilityTable(t *testing.T) {
	const path = "../docs/rfc9568.md"
	want := traceability(requirements(t))
	if flag.Lookup("rewrite").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what docs/rfc-requirements.tsv says: go test ./fsm -run Traceability -rewrite", path)
	}
}

func traceability(list []requirement) string {
	var b strings.Builder
	b.WriteString(`# What RFC 9568 and RFC 3768 demand, and the tests of it

<!-- Written by ` + "`go test ./fsm -run Traceability -rewrite`" + ` from docs/rfc-requirements.tsv; edit that. -->

`)
	fmt.Fprintf(&b, `Each requirement is in words of ours. *Kept* is a test or trace that shows it kept, *refused*
one that shows its opposite refused, or the case beside it where it must not hold; behind the
colon stands the function, or what to look for in a trace. Where keepalived deviates and its
files count on that, so do we, and the reason stands there.

%s
`, count(list))
	title := map[string]string{"9568": "RFC 9568 (version 3)", "3768": "RFC 3768 (version 2)"}
	section := ""
	for _, r := range list {
		if rfc, _, _ := strings.Cut(r.id, "-"); rfc != section {
			section = rfc
			fmt.Fprintf(&b, "\n## %s\n\n| rule | level | for | requirement | kept | refused | note |\n| --- | --- | --- | --- | --- | --- | --- |\n", title[rfc])
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", strings.SplitN(r.id, "-", 2)[1], r.level, r.applies, r.text, code(r.kept), code(r.refused), r.note)
	}
	return b.String()
}

// count sums the list up; a rule with both tests and a deviation is a deviation.
func count(list []requirement) string {
	tested, deviates, rest := 0, 0, 0
	for _, r := range list {
		switch {
		case strings.HasPrefix(r.note, "deviates "):
			deviates++
		case r.kept != "" && r.refused != "":
			tested++
		default:
			rest++
		}
	}
	return fmt.Sprintf("Of %d, %d are tested both ways, %d deviate deliberately, and %d are\noptional or nothing that a test could show.", len(list), tested, deviates, rest)
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
