package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestReadmeCommands tries what the README tells people to type: make targets exist,
// and the files that commands are given are there and in order.
func TestReadmeCommands(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, block := range strings.Split(string(text), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			tried++
			switch {
			case words[0] == "make":
				tryCommand(t, "make", "-n", words[1])
			case words[0] == "./ringkeep" && words[1] == "check":
				tryCommand(t, "ringkeep", words[1:]...)
			case words[0] == "./ringkeep" && words[1] == "lab":
				if _, err := os.Stat("../../" + words[3]); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			case words[0] == "sudo":
			default:
				t.Errorf("the README has a command that this test does not know: %s", line)
			}
		}
	}
	if tried < 5 {
		t.Errorf("only %d commands in the README", tried)
	}
}

func tryCommand(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
