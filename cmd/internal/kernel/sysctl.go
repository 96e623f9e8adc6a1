package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctls are below this directory, which shows the network namespace of who opens them:
// the process's own.
const sysctls = "/proc/sys/net/ipv4/conf"

// PromoteSecondaries keeps the other addresses of a network on the interface when the
// first of it goes. [Kernel.Close] sets the switch back.
func (k *Kernel) PromoteSecondaries(iface string) error {
	if err := k.switchTo(filepath.Join(sysctls, iface, "promote_secondaries"), "1"); err != nil {
		return fmt.Errorf("promote secondary addresses of %s: %w", iface, explain(err))
	}
	return nil
}

// switchTo writes a switch, which [Kernel.Close] sets back.
func (k *Kernel) switchTo(file, value string) error {
	old, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(old)) != value {
		if err = os.WriteFile(file, []byte(value), 0o644); err == nil {
			k.restore = append(k.restore, func() error { return os.WriteFile(file, old, 0o644) })
		}
	}
	return err
}

// restoreSysctls sets back what was changed; an interface that is gone needs nothing.
func (k *Kernel) restoreSysctls() (err error) {
	for _, f := range k.restore {
		if e := f(); e != nil && !os.IsNotExist(e) {
			err = e
		}
	}
	k.restore = nil
	return err
}
