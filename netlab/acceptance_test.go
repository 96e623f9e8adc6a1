package netlab

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	acceptanceRow   = regexp.MustCompile(`(?m)^\| (\d+) \|.*\| (.*) \| (.*) \|$`)
	quoted          = regexp.MustCompile("`([^`]+)`")
	acceptanceClaim = regexp.MustCompile(`acceptance cases? (\d+(?:(?:, | and | to )\d+)*)`)
)

// claims lists the acceptance cases that the comments of a text name: "case 5", "cases 6, 7 and
// 8", "cases 1 to 4".
func claims(text string) (list []int) {
	comments := ""
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, "#"); ok {
			comments += strings.TrimSpace(strings.TrimLeft(s, " ─┬├└│┴┘")) + " "
		}
	}
	for _, m := range acceptanceClaim.FindAllStringSubmatch(strings.ReplaceAll(comments, "Acceptance", "acceptance"), -1) {
		for part := range strings.SplitSeq(strings.ReplaceAll(m[1], " and ", ", "), ", ") {
			from, to, isRange := strings.Cut(part, " to ")
			low, _ := strconv.Atoi(from)
			high := low
			if isRange {
				high, _ = strconv.Atoi(to)
			}
			for ; low <= high; low++ {
				list = append(list, low)
			}
		}
	}
	return list
}

// TestAcceptanceCases holds docs/acceptance.md: each of the 25 cases has a scenario that is
// played and says so itself, and the tests that are named exist.
func TestAcceptanceCases(t *testing.T) {
	table, err := os.ReadFile("../docs/acceptance.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string][]int{}
	rows := acceptanceRow.FindAllStringSubmatch(string(table), -1)
	if len(rows) != 25 {
		t.Fatalf("%d cases", len(rows))
	}
	for i, row := range rows {
		if row[1] != strconv.Itoa(i+1) {
			t.Fatalf("case %s stands in row %d", row[1], i+1)
		}
		scenarios := quoted.FindAllStringSubmatch(row[2], -1)
		if len(scenarios) == 0 {
			t.Errorf("case %d has no scenario", i+1)
		}
		for _, m := range scenarios {
			named[m[1]] = append(named[m[1]], i+1)
		}
		for _, m := range quoted.FindAllStringSubmatch(row[3], -1) {
			exists(t, i+1, m[1])
		}
	}
	for name, cases := range named {
		text, err := os.ReadFile("scenarios/" + name + ".txtar")
		if err != nil {
			t.Error(err)
			continue
		}
		s, err := Parse(name, text)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Needs("namespaces") && !slices.Contains(played, name) {
			t.Errorf("%s is not played", name)
		}
		if got := claims(string(text)); !slices.Equal(slices.Sorted(slices.Values(got)), cases) {
			t.Errorf("%s says that it shows the cases %v, and the table %v", name, got, cases)
		}
	}
}

// exists holds that a test is there: path: Function, or a script that names the case.
func exists(t *testing.T, number int, where string) {
	path, function, isGo := strings.Cut(where, ": ")
	text, err := os.ReadFile("../" + path)
	switch {
	case err != nil:
		t.Errorf("case %d: %v", number, err)
	case isGo && !strings.Contains(string(text), "\nfunc "+function+"("):
		t.Errorf("case %d: no %s in %s", number, function, path)
	case !isGo && !slices.Contains(claims(string(text)), number):
		t.Errorf("case %d: %s does not name it", number, path)
	}
}
