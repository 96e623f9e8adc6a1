package main

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
)

// missing lists, with dynamic_interfaces, the interfaces that the file names and this host
// does not have yet. They have no index until they appear.
func missing(cfg *config.Config, links []kernel.Link, log *slog.Logger) []kernel.Link {
	if !cfg.Global.DynamicInterfaces.On {
		return nil
	}
	var list []kernel.Link
	for _, name := range cfg.Interfaces() {
		if !slices.ContainsFunc(links, func(l kernel.Link) bool { return l.Name == name }) {
			log.Warn("interface does not exist, it is used when it appears", "iface", name)
			list = append(list, kernel.Link{Name: name})
		}
	}
	return list
}

// sinceBoot is for how long the host runs, 0 if the kernel does not say.
func sinceBoot() time.Duration {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return 0
	}
	return time.Duration(up.Nano())
}

// delayed is the configuration of a daemon that was started so long after its host, with a
// startup delay that lasts until vrrp_delay_after_boot is over, if that is later.
func delayed(cfg *config.Config, up time.Duration) *config.Config {
	now := *cfg
	now.Global.StartupDelay = startupDelay(&cfg.Global, up)
	return &now
}

// startupDelay is that of a host which was started so long ago.
func startupDelay(g *config.Global, up time.Duration) time.Duration {
	return max(g.StartupDelay, g.DelayAfterBoot-up)
}

// promote sets promote_secondaries where an instance wants it: on one interface, or with ""
// on all. Those that are still missing get it when they appear.
func promote(cfg *config.Config, k *kernel.Kernel, iface string) error {
	for _, in := range cfg.Instances {
		if !in.PromoteSecondaries || in.Disabled != "" || iface != "" && in.Interface != iface {
			continue
		}
		err := k.PromoteSecondaries(in.Interface)
		if err != nil && !(cfg.Global.DynamicInterfaces.On && errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}
