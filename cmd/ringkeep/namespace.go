package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// namespaces is where network namespaces have their names.
const namespaces = "/run/netns"

// enterNamespace puts the whole process into the named network namespace. A process has
// many threads before its first line of ours runs, and each would have to move; so one
// thread moves and executes the program again, which leaves that thread alone and keeps
// its namespace. Then the process is where it shall be, and this does nothing.
func enterNamespace(name string) error {
	if name == "" {
		return nil
	}
	if filepath.Base(name) != name || name == ".." || name == "." {
		return fmt.Errorf("network namespace %q: must be a name in %s", name, namespaces)
	}
	path := filepath.Join(namespaces, name)
	var there, here unix.Stat_t
	if err := unix.Stat(path, &there); err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	if err := unix.Stat("/proc/self/ns/net", &here); err != nil {
		return err
	}
	if there.Dev == here.Dev && there.Ino == here.Ino {
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	runtime.LockOSThread() // for good: this thread belongs nowhere else any more
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	err = unix.Exec("/proc/self/exe", os.Args, os.Environ())
	return fmt.Errorf("enter network namespace %s: execute again: %w", name, err)
}

// enter goes to the namespace that the options name, where they name one or none, or else
// the file. What is wrong with the file is told later.
func (r *runner) enter(o config.Options, named bool) error {
	if !named {
		cfg, _, err := config.Load(r.file, o)
		if err != nil {
			return nil
		}
		r.namespace = cfg.NetNamespace
	}
	return enterNamespace(r.namespace)
}
