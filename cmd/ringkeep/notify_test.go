package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const flapConf = `
global_defs {
    vrrp_version 3
    script_user root
}
track_file f {
    file DIR/number
    weight 0
}
vrrp_instance VI_1 {
    interface d0
    virtual_router_id 9
    priority 150
    advert_int 0.01
    virtual_ipaddress { 10.9.0.100/24 }
    track_file {
        f
    }
    notify "DIR/slow 'a b'"
}
`

// slow notes its arguments, works until it may end and for a while, and notes the end.
const slow = `#!/bin/sh
[ $# = 5 ] && [ "$1" = 'a b' ] && echo "begin $2 $3 $4 $5" >> DIR/lines
while [ ! -e DIR/go ]; do sleep 0.02; done
sleep 0.05
echo "end $4" >> DIR/lines
`

var entering = regexp.MustCompile(`Entering (\w+) STATE`)

// Case 7.20, and more than keepalived promises: an instance that flaps faster than its
// script works never has two of them at once, and every state comes in its turn.
func TestScriptsOfOneInstanceNeverOverlap(t *testing.T) {
	name, dir := namedNamespace(t), t.TempDir()
	t.Parallel()
	put := func(file, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.ReplaceAll(text, "DIR", dir)), mode); err != nil {
			t.Fatal(err)
		}
	}
	read := func(file string) string { b, _ := os.ReadFile(filepath.Join(dir, file)); return string(b) }
	states := func() (list []string) {
		for _, m := range entering.FindAllStringSubmatch(read("log"), -1) {
			list = append(list, m[1])
		}
		return list
	}
	await := func(what string, ok func() bool) {
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not %s:\n%s\n%s", what, read("log"), read("lines"))
			}
		}
	}
	put("number", "0", 0o644)
	put("slow", slow, 0o755)
	put("c.conf", flapConf, 0o600)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(t.Context(), "ringkeep", "run", "-s", name, "-f", dir+"/c.conf")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	await("MASTER", func() bool { return slices.Contains(states(), "MASTER") })
	for _, one := range []struct{ number, state string }{{"1", "FAULT"}, {"0", "MASTER"}, {"1", "FAULT"}, {"0", "MASTER"}, {"1", "FAULT"}} {
		put("number", one.number, 0o644)
		await(one.state, func() bool { list := states(); return list[len(list)-1] == one.state })
	}
	await("begun", func() bool { return read("lines") != "" })
	if got := read("lines"); strings.Count(got, "\n") != 1 {
		t.Errorf("while the first script works:\n%s", got)
	}
	put("go", "", 0o644)
	await("told", func() bool { return strings.Count(read("lines"), "end") == len(states()) })
	var want []string
	for _, s := range states() {
		want = append(want, "begin INSTANCE VI_1 "+s+" 150", "end "+s)
	}
	if got := strings.TrimSpace(read("lines")); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil || !strings.HasSuffix(read("lines"), "begin INSTANCE VI_1 STOP 150\nend STOP\n") {
		t.Errorf("%v, at the end\n%s", err, read("lines"))
	}
}
