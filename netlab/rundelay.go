package netlab

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// runDelays says of the threads of a process, and of all processes that it has started, how long
// each was ready to run and had no processor since it began: the run delay of
// /proc/PID/schedstat (Documentation/scheduler/sched-stats.rst).
type runDelays map[int]time.Duration

func runDelaysOf(pid int) runDelays {
	all := runDelays{}
	for todo := []string{strconv.Itoa(pid)}; len(todo) > 0; todo = todo[1:] {
		dir := "/proc/" + todo[0] + "/task/"
		threads, _ := os.ReadDir(dir) // it may have ended
		for _, thread := range threads {
			all.read(dir+thread.Name(), thread.Name())
			children, _ := os.ReadFile(dir + thread.Name() + "/children")
			todo = append(todo, strings.Fields(string(children))...)
		}
	}
	return all
}

// read adds a thread, whose directory in /proc this is.
func (d runDelays) read(dir, thread string) {
	stat, _ := os.ReadFile(dir + "/schedstat")
	if f := strings.Fields(string(stat)); len(f) == 3 {
		id, _ := strconv.Atoi(thread)
		ns, _ := strconv.ParseInt(f[1], 10, 64)
		d[id] = time.Duration(ns)
	}
}

// since is what was added since an earlier look, by all threads together.
func (d runDelays) since(before runDelays) (sum time.Duration) {
	for id, now := range d {
		if was := before[id]; was <= now {
			now -= was // else another thread has the number
		}
		sum += now
	}
	return sum
}

// stolen is how long each processor of a virtual machine was held by its host, since the
// start ("steal" of /proc/stat, in hundredths of a second).
func stolen() (each []time.Duration) {
	stat, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(stat)) {
		if f := strings.Fields(line); len(f) > 8 && strings.HasPrefix(f[0], "cpu") && f[0] != "cpu" {
			ticks, _ := strconv.ParseInt(f[8], 10, 64)
			each = append(each, time.Duration(ticks)*10*time.Millisecond)
		}
	}
	return each
}

// moment is what had been waited for processors, and for the lock of interfaces, at some time.
type moment struct {
	processes map[string]runDelays // by node; "" is the lab with all that it has started
	kernel    runDelays            // of its threads, which take an interface up after those who ask for it
	stolen    []time.Duration
	locked    time.Duration
}

// kernelDelays is of the kernel's threads, where the lab sees them: the children of kthreadd.
func kernelDelays() runDelays {
	if name, _ := os.ReadFile("/proc/2/comm"); string(name) != "kthreadd\n" {
		return nil
	}
	all := runDelays{}
	children, _ := os.ReadFile("/proc/2/task/2/children")
	for _, pid := range strings.Fields(string(children)) {
		all.read("/proc/"+pid, pid)
	}
	return all
}

// moment looks at the processes of the nodes, or with whole at those of the lab too.
func (l *lab) moment(whole bool) moment {
	m := moment{map[string]runDelays{}, kernelDelays(), stolen(), l.interfaceLock.total()}
	if whole {
		m.processes[""] = runDelaysOf(os.Getpid())
		return m
	}
	for _, h := range l.order {
		if h.node != nil {
			if pid := h.node.pid(); pid > 0 {
				m.processes[h.name] = runDelaysOf(pid)
			}
		}
	}
	return m
}

// since is how long these processes have waited for a processor since an earlier moment, the kernel's
// threads too, and all for the lock: the machine's part in whatever took too long. Without names
// it is all of them.
func (m moment) since(before moment, names ...string) (late time.Duration) {
	for i, all := range m.stolen {
		if i < len(before.stolen) {
			late = max(late, all-before.stolen[i])
		}
	}
	if len(names) == 0 {
		for name := range m.processes {
			names = append(names, name)
		}
	}
	for _, name := range names {
		late += m.processes[name].since(before.processes[name])
	}
	if before.kernel != nil { // else it is what they waited since the machine was started
		late += m.kernel.since(before.kernel)
	}
	return late + m.locked - before.locked
}
