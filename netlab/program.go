package netlab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// program starts a script of the scenario on a host that is no node, as its administrator
// would: a server that is none of ours. It sees the files of the host. unserve, or the end
// of the lab, kills it with all that it has started.
func (h *host) program(path string) error {
	key := "program:" + path
	if h.servers[key] != nil {
		return fmt.Errorf("%s runs %s already", h.name, path)
	}
	files := h.lab.filesOf(h.name)
	if files[path] == nil {
		return fmt.Errorf("%s: the scenario has no file %s:%s", h.name, h.name, path)
	}
	dir := filepath.Join(h.lab.dir, h.name, filepath.Base(path))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	spec, err := json.Marshal(enterSpec{Dir: filepath.Join(dir, "mnt"), Files: files, Args: []string{path}})
	if err != nil {
		return err
	}
	specFile := filepath.Join(dir, "enter.json")
	if err := os.WriteFile(specFile, spec, 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if !slices.Contains(h.written, log.Name()) {
		h.written = append(h.written, log.Name())
	}
	cmd := exec.Command(h.lab.options.Binary, "lab-enter")
	cmd.Env = append(os.Environ(), enterVariable+"="+specFile)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}
	h.lab.command("ip netns exec %s %s", h.name, path)
	h.do(func() { err = cmd.Start() })
	if err != nil {
		return fmt.Errorf("%s: %s: %w", h.name, path, err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	h.servers[key] = func() {
		cmd.Process.Kill() // the first of its process namespace: nothing outlives it
		<-exited
	}
	select {
	case <-exited:
		text, _ := os.ReadFile(log.Name())
		delete(h.servers, key)
		return fmt.Errorf("%s: %s ended at once: %s", h.name, path, text)
	case <-time.After(programSettles):
		return nil
	}
}

// programSettles is how long a program has to find out that it cannot run. Scenarios wait
// for what it serves by themselves.
const programSettles = 300 * time.Millisecond

// wrote tells whether a program of the host has written the text.
func (h *host) wrote(text string) bool {
	return slices.ContainsFunc(h.written, func(file string) bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(data), text)
	})
}
