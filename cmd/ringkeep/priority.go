package main

import (
	"fmt"
	"log/slog"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// prioritise gives the calling thread, which must be locked to the loop, the priority
// and the processors that the file says, and locks the process in memory. What the
// kernel refuses costs a line in the log, as with keepalived, and nothing else. Threads and
// processes that are started later do not inherit a real-time priority.
func prioritise(g *config.Global, log *slog.Logger) {
	try := func(keyword string, value any, err error) {
		if err != nil {
			log.Warn("priority not set", "keyword", keyword, "value", fmt.Sprint(value), "reason", err)
		}
	}
	if g.ProcessPriority != 0 {
		try("vrrp_priority", g.ProcessPriority, unix.Setpriority(unix.PRIO_PROCESS, 0, g.ProcessPriority))
	}
	if g.RealTimePriority != 0 {
		try("vrrp_rt_priority", g.RealTimePriority, unix.SchedSetAttr(0, &unix.SchedAttr{
			Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: uint32(g.RealTimePriority),
		}, 0))
	}
	if len(g.CPUAffinity) > 0 {
		var set unix.CPUSet
		for _, n := range g.CPUAffinity {
			cpu, _ := strconv.Atoi(n) // checked when the file was read
			set.Set(cpu)
		}
		try("vrrp_cpu_affinity", g.CPUAffinity, unix.SchedSetaffinity(0, &set))
	}
	if g.NoSwap { // pages as they come into use, not all that the Go runtime reserves
		try("vrrp_no_swap", "", unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT))
	}
}
