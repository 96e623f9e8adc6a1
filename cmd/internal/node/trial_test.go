package node

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// TestTrial plays results against the rules. The command check makes one, with its
// keywords in short (delay, before); results gives it one after another: ok, fail, local,
// an exit status, or file=N for the number of a tracked file.
func TestTrial(t *testing.T) {
	datadriven.Walk(t, "testdata/check", func(t *testing.T, path string) {
		var tr trial
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "check":
				tr = newTrial(readCheck(t, d))
				return tr.say()
			case "results":
				var b strings.Builder
				for _, word := range strings.Fields(d.Input) {
					fmt.Fprintf(&b, "%s: %s\n", word, tr.play(t, word))
				}
				return b.String()
			}
			t.Fatalf("%s: no such command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

func readCheck(t *testing.T, d *datadriven.TestData) *config.Check {
	c := &config.Check{Kind: "TCP_CHECK", DelayLoop: 10 * time.Second, DelayBeforeRetry: time.Second, Retry: 1, ServerWeight: 1}
	for _, a := range d.CmdArgs {
		value := strings.Join(a.Vals, ",")
		n, _ := strconv.Atoi(value)
		switch a.Key {
		case "kind":
			c.Kind = value
		case "retry":
			c.Retry = n
		case "urls":
			c.URLs = make([]*config.URL, n)
		case "weight":
			c.Weight = n
		case "configured":
			c.ServerWeight = n
		case "delay":
			c.DelayLoop = time.Duration(n) * time.Second
		case "before":
			c.DelayBeforeRetry = time.Duration(n) * time.Second
		case "alpha":
			c.Alpha = true
		case "fast_recovery":
			c.FastRecovery = true
		case "misc_dynamic":
			c.MiscDynamic = true
		case "reverse":
			c.Reverse = true
		default:
			t.Fatalf("%s: no such keyword %s", d.Pos, a.Key)
		}
	}
	return c
}

// play gives one result, and says what follows.
func (t *trial) play(tt *testing.T, word string) string {
	if value, ok := strings.CutPrefix(word, "file="); ok {
		n, _ := strconv.Atoi(value)
		t.read(n)
		return t.say()
	}
	done := CheckDone{OK: word == "ok" || word == "0", Local: word == "local"}
	done.Exit, _ = strconv.Atoi(word)
	if word != "ok" && word != "fail" && word != "local" && word != strconv.Itoa(done.Exit) {
		tt.Fatalf("no such result %s", word)
	}
	wait := t.judge(done)
	return fmt.Sprintf("%s, next in %v", t.say(), wait)
}

func (t *trial) say() string {
	text := upOrDown(t.up)
	if len(t.cfg.URLs) > 1 {
		text += fmt.Sprintf(", url %d", t.url)
	}
	if t.adjust != 0 {
		text += fmt.Sprintf(", weight %+d", t.adjust)
	}
	return text
}
