package fsm

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// elsewhere says of each conformance test that no trace here shows, by the numbers of
// the project's protocol reference, where it is: a file, with the test or fuzz function
// in it behind a colon.
var elsewhere = map[int]string{
	5:  "cmd/internal/node/ipv6_test.go:TestFramesOverIPv6",
	49: "cmd/internal/node/copies_test.go:TestUnicastCopies",
	55: "cmd/internal/node/script_test.go:TestScriptCounter",
	63: "netlab/run_test.go:virtual",
	64: "cmd/internal/kernel/accept_test.go:TestBlockedAddressesAreNotReached",
	65: "netlab/run_test.go:interop-garp-paced",
	67: "fsm/check_test.go:FuzzCheck",
}

// conformanceTests is the last number.
const conformanceTests = 68

// Each conformance test has a trace, a test elsewhere, or what is missing for it; what
// has a trace has no excuse.
func TestConformanceIsCovered(t *testing.T) {
	shown := map[string]bool{}
	for _, text := range traces(t) {
		for _, m := range regexp.MustCompile(`(?i)Conformance ([0-9, ]+)`).FindAllStringSubmatch(text, -1) {
			for _, n := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' }) {
				shown[n] = true
			}
		}
	}
	for n := 1; n <= conformanceTests; n++ {
		where, excused := elsewhere[n]
		switch {
		case excused && shown[strconv.Itoa(n)]:
			t.Errorf("conformance test %d has a trace; take it from the list", n)
		case excused:
			exists(t, where)
		case !shown[strconv.Itoa(n)]:
			t.Errorf("no trace shows conformance test %d", n)
		}
	}
}

// notReplayed says why a recording of behaviour is in no replay.
var notReplayed = map[string]string{
	"beh-sync-group-fault":        "fsm/testdata/group/fault.txt",
	"beh-sync-group-state-master": "fsm/testdata/group/agreement.txt",
}

// Every recording of a keepalived to which something was done is replayed.
func TestCapturesAreReplayed(t *testing.T) {
	replayed := map[string]bool{}
	for _, text := range traces(t) {
		for _, m := range regexp.MustCompile(`(?m)^replay capture=(\S+)`).FindAllStringSubmatch(text, -1) {
			replayed[m[1]] = true
		}
	}
	files, err := filepath.Glob(captures + "/*.pcap")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		if !strings.HasPrefix(name, "inj-") && !strings.HasPrefix(name, "beh-") {
			continue
		}
		count++
		if why, excused := notReplayed[name]; excused == replayed[name] {
			t.Errorf("%s: replayed: %t, excuse: %q", name, replayed[name], why)
		}
	}
	if count < 50 {
		t.Errorf("only %d captures", count)
	}
}

// traces reads all trace files.
func traces(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pattern := range []string{"testdata/*.txt", "testdata/group/*.txt", "testdata/replay/*.txt"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, string(b))
		}
	}
	return list
}

// exists fails for a file, or a test in it, that is not there.
func exists(t *testing.T, where string) {
	t.Helper()
	file, name, _ := strings.Cut(where, ":")
	b, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Error(err)
	} else if !strings.Contains(string(b), name) {
		t.Errorf("%s has no %s", file, name)
	}
}
