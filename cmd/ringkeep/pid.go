package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// pidDirectory is where use_pid_dir and instance want the process id.
const pidDirectory = "/run/keepalived"

// pidFileOf is where the process id is written: what the option says, or a file that the
// configuration asks for by use_pid_dir or a name of the instance; "" for nowhere.
func (r *runner) pidFileOf(cfg *config.Config) string {
	switch {
	case r.pidFile != "":
		return r.pidFile
	case cfg.InstanceName != "":
		return filepath.Join(pidDirectory, "keepalived_"+filepath.Base(cfg.InstanceName)+".pid")
	case cfg.UsePIDDir:
		return filepath.Join(pidDirectory, "keepalived.pid")
	}
	return ""
}

func writePID(file string) error {
	if filepath.Dir(file) == pidDirectory {
		if err := os.MkdirAll(pidDirectory, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(file, fmt.Appendln(nil, os.Getpid()), 0o644)
}
