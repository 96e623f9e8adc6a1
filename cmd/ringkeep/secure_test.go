package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

const secureConf = `
global_defs {
    %s
    startup_script DIR/good
}
vrrp_script good {
    script DIR/good
}
vrrp_script open {
    script DIR/open
}
vrrp_script lost {
    script DIR/nosuch
}
vrrp_sync_group G {
    group { A }
    track_script {
        open
        lost
    }
    notify_stop DIR/open
}
vrrp_instance A {
    interface eth0
    virtual_router_id 1
    virtual_ipaddress { 192.0.2.1 }
    track_script {
        good
        open
    }
    notify_master DIR/good
    notify_backup DIR/open
    notify_fault DIR/noexec
    notify "DIR/good x" nobody :daemon
}
`

// Reference 3.4 and case 7.19: what is disabled leaves every track and every
// notification; the user is the script's, else script_user, else nobody with security.
func TestSecure(t *testing.T) {
	needsRoot(t)
	if _, err := user.Lookup("keepalived_script"); err == nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("this host has an account keepalived_script")
		}
		t.Skip("this host has an account keepalived_script")
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"good": 0o755, "open": 0o777, "noexec": 0o644} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ global, want, logged, refused string }{
		{"script_user root", "good open|open|master=root: backup=root: notify=nobody::daemon stop=root: start=root:", "script is not safe", "{notify_fault of vrrp_instance A DIR/noexec c.conf:33:18 not executable: DIR/noexec: for uid:gid 0:0}"},
		{"script_user root\nenable_script_security", "good||master=root: notify=nobody::daemon start=root:", "writable by others", "{vrrp_script open DIR/open c.conf:10:1 unsafe permissions: DIR/open: writable by others}"},
		{"enable_script_security", "||notify=nobody::daemon", "needs script_user", "{vrrp_script good DIR/good c.conf:6:1 enable_script_security needs script_user, or an account keepalived_script}"},
		{"script_user daemon", "good open|open|master=daemon: backup=daemon: notify=nobody::daemon stop=daemon: start=daemon:", "not executable", "{notify_fault of vrrp_instance A DIR/noexec"},
		{"script_user daemon\nset_supplementary_groups", "good open|open|master=daemon:: backup=daemon:: notify=nobody::daemon stop=daemon:: start=daemon::", "not found", "{vrrp_script lost DIR/nosuch"},
		{"set_supplementary_groups", "good open|open|master=:: backup=:: notify=nobody::daemon stop=:: start=::", "not found", "{vrrp_script lost DIR/nosuch"},
	} {
		text := strings.ReplaceAll(fmt.Sprintf(secureConf, tt.global), "DIR", dir)
		cfg, _ := config.Parse("c.conf", []byte(text), config.Options{})
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		secure(cfg, logger)
		newSecurer(&cfg.Global, logger).command("startup_script", &cfg.Global.StartupScript)
		in, g := cfg.Instances[0], cfg.SyncGroups[0]
		var commands []string
		for _, one := range []struct {
			name string
			*config.Command
		}{
			{"master", in.NotifyMaster}, {"backup", in.NotifyBackup}, {"fault", in.NotifyFault}, {"notify", in.Notify},
			{"stop", g.NotifyStop}, {"start", cfg.Global.StartupScript},
		} {
			if one.Command != nil {
				s := scriptOf(one.Command)
				commands = append(commands, one.name+"="+s.User+":"+s.Group)
			}
		}
		got := names(in.TrackScripts) + "|" + names(g.TrackScripts) + "|" + strings.Join(commands, " ")
		if len(cfg.Refused) == 0 || !strings.Contains(fmt.Sprint(cfg.Refused), strings.ReplaceAll(tt.refused, "DIR", dir)) {
			t.Errorf("%q: refused %v, want %s", tt.global, cfg.Refused, tt.refused)
		}
		if got != tt.want || !strings.Contains(log.String(), tt.logged) {
			t.Errorf("%q:\ngot  %s\nwant %s\nlogged %s", tt.global, got, tt.want, log.String())
		}
	}
}

func names(list config.Tracks) string {
	var words []string
	for _, one := range list {
		words = append(words, one.Name)
	}
	return strings.Join(words, " ")
}
