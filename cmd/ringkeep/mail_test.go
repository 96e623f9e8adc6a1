package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/checks/smtptest"
)

// inNamespace runs do in a new network namespace, with what it starts and opens. The
// thread ends with it.
func inNamespace(t *testing.T, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func shell(script string) error {
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return nil
}

const mailConf = `
global_defs {
    vrrp_version 3
    notification_email {
        root@example.org
        ops@example.org
    }
    smtp_server 127.0.0.1 2525
    %s
}
vrrp_sync_group G1 {
    group { VI_1 }
    smtp_alert
}
vrrp_instance VI_1 {
    interface d0
    virtual_router_id 51
    priority 100
    advert_int 0.1
    virtual_ipaddress { 10.9.0.100/24 }
}
vrrp_instance VI_2 {
    interface d0
    virtual_router_id 52
    priority 100
    advert_int 0.1
    smtp_alert off
    virtual_ipaddress { 10.9.0.101/24 }
}
vrrp_instance VI_3 {
    interface d1
    virtual_router_id 53
    priority 100
    advert_int 0.1
    virtual_ipaddress { 10.9.1.101/24 }
}
`

// mailSteps are what happens to a director, and the subjects that follow.
var mailSteps = []struct {
	do   string
	want []string // of group G1, of VI_1, of VI_3
}{
	{"", []string{"G1 BACKUP", "G1 MASTER", "VI_1 BACKUP", "VI_1 MASTER", "VI_3 BACKUP", "VI_3 MASTER"}},
	{"ip link set d1 down", []string{"VI_3 FAULT"}},
	{"ip link set d0 down", []string{"G1 FAULT", "VI_1 FAULT"}},
	{"ip link set d1 up", []string{"VI_3 BACKUP", "VI_3 MASTER"}},
	{"ip link set d0 up", []string{"G1 BACKUP", "G1 MASTER", "VI_1 BACKUP", "VI_1 MASTER"}},
}

// mailsOf drives one program through the steps and returns the mails of each step, sorted:
// keepalived sends them beside each other. The last ones came after the stop.
func mailsOf(t *testing.T, config string, faults bool, command ...string) (steps [][]string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	inNamespace(t, func() error {
		err := shell(`ip link set lo up
for i in 0 1; do ip link add d$i type veth peer name e$i; ip link set e$i up; ip link set d$i up; ip addr add 10.9.$i.1/24 dev d$i; done`)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:2525")
		if err != nil {
			return err
		}
		relay := smtptest.Start(l, nil)
		defer relay.Close()
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			return err
		}
		defer log.Close()
		cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], "-f", file, "-p", dir+"/pid")...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return err
		}
		seen := 0
		for _, step := range mailSteps {
			if err := shell(step.do); err != nil {
				return err
			}
			want := 0
			for _, one := range step.want {
				if faults || !strings.HasSuffix(one, "FAULT") {
					want++
				}
			}
			for end := time.Now().Add(20 * time.Second); len(relay.Mails()) < seen+want; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					log.Seek(0, io.SeekStart)
					text, _ := io.ReadAll(log)
					cmd.Process.Kill()
					cmd.Wait()
					return fmt.Errorf("%s: %q: %d mails, want %d more than %d\n%s", command[0], step.do, len(relay.Mails()), want, seen, text)
				}
			}
			mails := relay.Mails()
			steps = append(steps, normal(mails[seen:]))
			seen = len(mails)
		}
		cmd.Process.Signal(unix.SIGTERM)
		if err := cmd.Wait(); err != nil {
			return err
		}
		steps = append(steps, normal(relay.Mails()[seen:]))
		return nil
	})
	return steps
}

// normal is the mails without the moment, sorted.
func normal(mails []smtptest.Mail) []string {
	var list []string
	for _, m := range mails {
		date, rest, _ := strings.Cut(m.Text, "\r\n")
		if _, err := time.Parse("Date: Mon, 02 Jan 2006 15:04:05 -0700", date); err != nil {
			rest = m.Text
		}
		list = append(list, fmt.Sprintf("%s %s %s\n%s", m.Helo, m.From, m.To, rest))
	}
	slices.Sort(list)
	return list
}

// Reference 4.5, observed at keepalived: the same mails at the same transitions, with what
// the file says and with the defaults. Only the Stopping mails are ours alone: keepalived
// begins them, and ends before they are sent.
func TestMailsAsKeepalived(t *testing.T) {
	keepalivedOrSkip(t)
	for _, tt := range []struct {
		name, global string
		faults       bool
	}{
		{"named", "smtp_alert on\n router_id LB1\n notification_email_from lb@example.org\n smtp_helo_name lb1.example.org\n smtp_connect_timeout 5", true},
		{"defaults", "smtp_alert_vrrp on\n smtp_alert off\n no_email_faults", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := fmt.Sprintf(mailConf, tt.global)
			theirs := mailsOf(t, config, tt.faults, "keepalived", "-n", "-l", "-P", "-r", t.TempDir()+"/vrrp.pid")
			ours := mailsOf(t, config, tt.faults, "ringkeep", "run")
			if len(theirs) != len(mailSteps)+1 || len(ours) != len(theirs) {
				t.Fatalf("%d steps of keepalived, %d of ours", len(theirs), len(ours))
			}
			last := len(mailSteps)
			for i := range last {
				if !slices.Equal(theirs[i], ours[i]) {
					t.Errorf("%q: keepalived sends\n%q\nringkeep\n%q", mailSteps[i].do, theirs[i], ours[i])
				}
			}
			var subjects []string
			for _, m := range ours[last] {
				_, s, _ := strings.Cut(m, "] VRRP ")
				subjects = append(subjects, strings.ReplaceAll(s[:strings.IndexByte(s, '\r')], " - Stopping", ""))
			}
			if got := fmt.Sprint(subjects); got != "[Group G1 Instance VI_1 Instance VI_3]" {
				t.Errorf("Stopping mails of %s", got)
			}
		})
	}
}

// A relay that takes connections and never says a word costs log lines: the states change
// while the first mail waits for it, and the end does not wait.
func TestSilentRelayHoldsUpNothing(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	dir := t.TempDir()
	file, log := filepath.Join(dir, "c.conf"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, fmt.Appendf(nil, mailConf, "smtp_alert\n smtp_connect_timeout 60"), 0o600); err != nil {
		t.Fatal(err)
	}
	inNamespace(t, func() error {
		err := shell(`ip link set lo up
for i in 0 1; do ip link add d$i type veth peer name e$i; ip link set e$i up; ip link set d$i up; ip addr add 10.9.$i.1/24 dev d$i; done`)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:2525")
		if err != nil {
			return err
		}
		relay := smtptest.Start(l, map[string]string{"GREETING": smtptest.Silence})
		defer relay.Close()
		out, err := os.Create(log)
		if err != nil {
			return err
		}
		defer out.Close()
		cmd := exec.CommandContext(t.Context(), "ringkeep", "run", "-f", file)
		cmd.Stderr = out
		if err := cmd.Start(); err != nil {
			return err
		}
		defer cmd.Process.Kill()
		await := func(what string, times int) error {
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				text, err := os.ReadFile(log)
				if err != nil || strings.Count(string(text), what) >= times {
					return err
				}
				if time.Now().After(end) {
					return fmt.Errorf("not %d times %q:\n%s", times, what, text)
				}
			}
		}
		err = await("Entering MASTER STATE", 3)
		for i := 2; i <= 5 && err == nil; i++ {
			err = errors.Join(shell("ip link set d1 down"), await("(VI_3) Entering FAULT STATE", i-1),
				shell("ip link set d1 up"), await("(VI_3) Entering MASTER STATE", i))
		}
		start := time.Now()
		cmd.Process.Signal(unix.SIGTERM)
		err = errors.Join(err, cmd.Wait())
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the end took %v", took)
		}
		return errors.Join(err, await(`level=WARN msg="mail not sent" subject="VRRP Instance VI_3 - Stopping"`, 1))
	})
}
