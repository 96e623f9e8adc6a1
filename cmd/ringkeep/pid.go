package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// pidDirectory is where use_pid_dir, instance and net_namespace want the process id.
const pidDirectory = "/run/keepalived"

// pidFileOf is where the process id is written: what the option says, or a file below
// pidDirectory if the configuration has one of the three keywords; "" for nowhere.
func (r *runner) pidFileOf(cfg *config.Config) string {
	name := "keepalived.pid"
	switch {
	case r.pidFile != "":
		return r.pidFile
	case cfg.InstanceName != "":
		name = "keepalived_" + filepath.Base(cfg.InstanceName) + ".pid"
	case !cfg.UsePIDDir && r.namespace == "":
		return ""
	}
	return filepath.Join(pidDirectory, r.namespace, name)
}

func writePID(file string) error {
	if strings.HasPrefix(file, pidDirectory+"/") {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(file, fmt.Appendln(nil, os.Getpid()), 0o644)
}
