package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// namedNamespace makes a network namespace with an interface d0, and gives its name.
func namedNamespace(t *testing.T) string {
	t.Helper()
	needsRoot(t)
	name := fmt.Sprintf("rk%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)
	t.Cleanup(func() {
		shell("ip netns del " + name)
		os.RemoveAll(filepath.Join(pidDirectory, name))
	})
	err := shell(strings.ReplaceAll(`ip netns add NS; ip -n NS link set lo up
ip -n NS link add d0 type veth peer name e0; ip -n NS link set e0 up; ip -n NS link set d0 up; ip -n NS addr add 10.9.0.1/24 dev d0`, "NS", name))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

const lifeConf = `
global_defs {
    startup_script "DIR/tell start 60"
    startup_script_timeout 1
    shutdown_script "DIR/tell stop"
    script_user root
}
vrrp_instance VI_1 {
    interface d0
    virtual_router_id 9
    priority 255
    virtual_ipaddress { 10.9.0.100/24 }
    notify_master "DIR/tell master"
    notify_stop "DIR/tell notify_stop"
}
`

// tell writes a line: what, whether the address is there, the namespace, and then waits.
const tell = `#!/bin/sh
held=$(ip -o addr show dev d0 | grep -c 10.9.0.100)
echo "$1 $held $(readlink /proc/self/ns/net)" >> DIR/lines
[ -z "$2" ] || exec sleep $2
`

// lifeOf runs a program in a namespace that net_namespace names until it has become
// MASTER, and stops it. It returns the lines of the scripts.
func lifeOf(t *testing.T, program func(dir, file string) *exec.Cmd, inside func(pid int, namespace string)) []string {
	t.Helper()
	name, dir := namedNamespace(t), t.TempDir()
	file := filepath.Join(dir, "keepalived.conf")
	conf := "net_namespace " + name + strings.ReplaceAll(lifeConf, "DIR", dir)
	for path, one := range map[string]struct {
		text string
		mode fs.FileMode
	}{file: {conf, 0o600}, dir + "/tell": {strings.ReplaceAll(tell, "DIR", dir), 0o755}} {
		if err := os.WriteFile(path, []byte(one.text), one.mode); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := program(dir, file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := func() string { b, _ := os.ReadFile(dir + "/lines"); return string(b) }
	for end := time.Now().Add(20 * time.Second); !strings.Contains(read(), "master"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			cmd.Process.Kill()
			cmd.Wait()
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("not MASTER: %q\n%s", read(), text)
		}
	}
	inside(cmd.Process.Pid, name)
	cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	var there unix.Stat_t
	if err := unix.Stat(filepath.Join(namespaces, name), &there); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.ReplaceAll(read(), fmt.Sprintf("net:[%d]", there.Ino), "named"), "\n")
}

// The file names the namespace: the whole process is in it, with its scripts, as
// keepalived's processes are. startup_script runs before everything and is ended at its
// timeout, shutdown_script after everything; what they say decides nothing.
func TestNamespaceAndLifeScripts(t *testing.T) {
	keepalivedOrSkip(t)
	t.Parallel()
	want := "start 0 named; master 1 named; notify_stop 0 named; stop 0 named; "
	for program, command := range map[string]func(dir, file string) *exec.Cmd{
		"keepalived": func(dir, file string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "keepalived", "-n", "-l", "-P", "-f", file, "-p", dir+"/pid", "-r", dir+"/vrrp")
		},
		"ringkeep": func(_, file string) *exec.Cmd { return exec.CommandContext(t.Context(), "ringkeep", "run", "-f", file) },
	} {
		got := lifeOf(t, command, func(pid int, namespace string) {
			if program != "ringkeep" {
				return
			}
			of := map[string]int{}
			threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns/net", pid))
			for _, link := range threads {
				ns, _ := os.Readlink(link)
				of[ns]++
			}
			here, _ := os.Readlink("/proc/self/ns/net")
			if len(of) != 1 || of[here] != 0 {
				t.Errorf("the threads are in %v, the test in %s", of, here)
			}
			if b, err := os.ReadFile(filepath.Join(pidDirectory, namespace, "keepalived.pid")); string(b) != fmt.Sprintln(pid) {
				t.Errorf("the pid file says %q, %v", b, err)
			}
		})
		if line := strings.Join(got, "; "); line != want {
			t.Errorf("%s:\ngot  %s\nwant %s", program, line, want)
		}
	}
}

// -s NAME goes before the file, and -s "" stays, as the lab wants; a name that nobody made is told.
func TestNamespaceOption(t *testing.T) {
	name, file := namedNamespace(t), filepath.Join(t.TempDir(), "c.conf")
	conf := "net_namespace nosuch\nvrrp_instance V {\n interface d0\n virtual_router_id 9\n virtual_ipaddress { 10.9.0.100/24 }\n}\n"
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ringkeep", "run", "-t", "-f", file, "-s", name).CombinedOutput()
	if err != nil || strings.Contains(string(out), "no such interface") {
		t.Errorf("with -s: %v, %s", err, out)
	}
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-t"}, exitComplaint, "ringkeep: network namespace /run/netns/nosuch: no such file or directory\n"},
		{nil, exitCode, "ringkeep: network namespace /run/netns/nosuch: no such file or directory\n"},
		{[]string{"-t", "-s", ""}, exitComplaint, file + ":3:12: warning: interface d0: there is no such interface on this machine\n     interface d0\n               ^\n"},
		{[]string{"-s", "../net"}, exitCode, "ringkeep: network namespace \"../net\": must be a name in /run/netns\n"},
	} {
		out, err := exec.Command("ringkeep", append([]string{"run", "-f", file}, tt.args...)...).CombinedOutput()
		if exitOf(err) != tt.code || string(out) != tt.says {
			t.Errorf("%v: %v, %s", tt.args, err, out)
		}
	}
}

// The names of keepalived's pid files (reference 5.7), looked at in keepalived.
func TestPIDFileNames(t *testing.T) {
	for _, tt := range []struct {
		option, namespace, instance string
		directory                   bool
		want                        string
	}{
		{"", "", "", false, ""},
		{"", "", "", true, "/run/keepalived/keepalived.pid"},
		{"", "", "foo", false, "/run/keepalived/keepalived_foo.pid"},
		{"", "blue", "", false, "/run/keepalived/blue/keepalived.pid"},
		{"", "blue", "foo", true, "/run/keepalived/blue/keepalived_foo.pid"},
		{"", "", "../x", false, "/run/keepalived/keepalived_x.pid"},
		{"/tmp/p", "blue", "foo", true, "/tmp/p"},
	} {
		r := &runner{pidFile: tt.option, namespace: tt.namespace}
		if got := r.pidFileOf(&config.Config{InstanceName: tt.instance, UsePIDDir: tt.directory}); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
