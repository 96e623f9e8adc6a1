package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// turning is a service with one server, whose turns it tells.
const turning = `virtual_server 10.9.0.1 %[1]d {
    delay_loop 2
    lb_algo rr
    lb_kind DR
    protocol TCP
    %[2]s
    quorum_up "DIR/tell VS%[1]d UP" root
    quorum_down "DIR/tell VS%[1]d DOWN" root
    real_server 127.0.0.1 %[1]d {
        weight 10
        notify_up "DIR/tell RS%[1]d UP" root
        notify_down "DIR/tell RS%[1]d DOWN" root
        %[3]s
    }
}
`

// turningConf has every kind of check, of optimists and pessimists.
func turningConf() string {
	const timed = " {\n warmup 0\n connect_timeout 1\n delay_before_retry 1\n"
	const url = " url {\n path %s\n }\n"
	var b strings.Builder
	port := 8000
	for _, alpha := range []string{"", "alpha"} {
		for _, checks := range []string{
			"TCP_CHECK" + timed + " retry 2\n connect_port 8080\n }",
			"HTTP_GET" + timed + " retry 2\n connect_port 8080\n" + fmt.Sprintf(url, "/") + " }",
			"HTTP_GET" + timed + " retry 1\n fast_recovery\n connect_port 8080\n" + fmt.Sprintf(url+url, "/a", "/b") + " }",
			"HTTP_GET" + timed + " retry 0\n connect_port 8080\n" + fmt.Sprintf(url+url, "/a", "/b") + " }",
			"SMTP_CHECK" + timed + " retry 2\n connect_port 8025\n }",
			"UDP_CHECK" + timed + " retry 1\n require_reply\n connect_port 8053\n }",
			"DNS_CHECK" + timed + " retry 1\n connect_port 8053\n }",
			"PING_CHECK" + timed + " retry 1\n }",
			"MISC_CHECK {\n warmup 0\n misc_path \"DIR/alive\" root\n retry 1\n delay_before_retry 1\n }",
			"MISC_CHECK {\n warmup 0\n misc_path \"DIR/weigh\" root\n misc_dynamic\n }",
			"inhibit_on_failure\n TCP_CHECK" + timed + " retry 2\n connect_port 8080\n }",
		} {
			port++
			fmt.Fprintf(&b, turning, port, alpha, checks)
		}
	}
	// Two checks of one server, which two failures take out once.
	fmt.Fprintf(&b, turning, port+1, "", "TCP_CHECK"+timed+" retry 0\n connect_port 8080\n }\n MISC_CHECK {\n warmup 0\n misc_path \"DIR/alive\" root\n retry 1\n delay_before_retry 1\n }")
	// What is told at the end, of who is up then and who is down.
	for i, script := range []string{"/bin/true", "/bin/false"} {
		two := "MISC_CHECK {\n warmup 0\n misc_path \"" + script + "\" root\n }\n }\n real_server 127.0.0.2 %[1]d {\n notify_up \"DIR/tell RT%[1]d UP\" root\n notify_down \"DIR/tell RT%[1]d DOWN\" root\n" +
			" MISC_CHECK {\n warmup 0\n misc_path \"DIR/alive\" root\n }"
		fmt.Fprintf(&b, turning, port+2+2*i, "omega", fmt.Sprintf(two, port+2+2*i))
		fmt.Fprintf(&b, turning, port+3+2*i, "omega\n quorum 11", fmt.Sprintf(two, port+3+2*i))
	}
	return "global_defs {\n script_user root\n}\n" + b.String()
}

// TestChecksTurnAsInKeepalived runs both programs on one file while servers come and go, and
// compares what the scripts are told, in its order for each server and service. keepalived's
// checker is made to believe that there is an IPVS.
func TestChecksTurnAsInKeepalived(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 50 s")
	}
	keepalivedOrSkip(t)
	t.Parallel()
	for _, program := range []string{"cc", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("needs %s", program)
		}
	}
	stub := filepath.Join(t.TempDir(), "ipvs.so")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", stub, "testdata/checker/ipvs.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ours, err := exec.LookPath("ringkeep")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]map[string]string{}
	var both sync.WaitGroup
	var mu sync.Mutex
	for name, command := range map[string][]string{
		"ringkeep":   {ours, "run", "-f", "DIR/node.conf"},
		"keepalived": {"env", "LD_PRELOAD=" + stub, "keepalived", "-C", "-n", "-l", "-f", "DIR/node.conf", "-p", "DIR/pid", "-c", "DIR/checkers"},
	} {
		dir := t.TempDir()
		both.Go(func() {
			got := turns(t, name, dir, command)
			mu.Lock()
			told[name] = got
			mu.Unlock()
		})
	}
	both.Wait()
	names := slices.Sorted(maps.Keys(told["keepalived"]))
	if len(names) < 40 {
		t.Errorf("keepalived tells of %d servers and services", len(names))
	}
	for _, name := range names {
		if a, b := told["ringkeep"][name], told["keepalived"][name]; a != b {
			t.Errorf("%s: %q, keepalived %q", name, a, b)
		}
	}
	if len(told["ringkeep"]) != len(names) {
		t.Errorf("ringkeep tells of %d, keepalived of %d", len(told["ringkeep"]), len(names))
	}
}

// turns runs a director, and returns what its scripts were told of each name.
func turns(t *testing.T, name, dir string, command []string) map[string]string {
	in := strings.NewReplacer("DIR", dir).Replace
	for file, text := range map[string]string{
		"node.conf": in(turningConf()), "tell": in("#!/bin/sh\necho \"$@\" >> DIR/told\n"),
		"alive": in("#!/bin/sh\n[ -e DIR/up ]\n"), "weigh": in("#!/bin/sh\nread code < DIR/code\nexit $code\n"),
	} {
		mode := os.FileMode(0o755)
		if file == "node.conf" { // keepalived takes none that can be executed
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), mode); err != nil {
			t.Error(err)
		}
	}
	for _, file := range []string{"servers.py", "run.sh"} {
		text, err := os.ReadFile("testdata/checker/" + file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), text, 0o755)
		}
		if err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := []string{"-n", "-m", "./run.sh"}
	for _, word := range command {
		args = append(args, in(word))
	}
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("%s: %v\n%s", name, err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "told"))
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Errorf("%s has told nothing: %v\n%s", name, err, log)
	}
	told := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if of, what, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			told[of] += what + " "
		}
	}
	return told
}
