package node

import (
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// trial is what is known of a health check, and keepalived's rules by which a result
// changes that. The first result decides at once; after it a check that is up fails only
// when retry further tries fail too, and one success brings it back. Web servers come back
// after a pass over all urls. (Reference 1.4, 1.6.)
type trial struct {
	cfg      *config.Check
	up, ran  bool
	known    bool // a result has decided
	failures int  // in a row

	url    int  // that is asked next
	clean  bool // a pass over all urls runs, after which the check is up
	passed bool // every url was asked once, or the server has failed

	exit   int // of a script that asked for a weight
	adjust int // what the check adds to the weight of its server
}

func newTrial(c *config.Check) trial {
	up := !c.Alpha || c.Kind == "FILE_CHECK"
	return trial{cfg: c, up: up, clean: !up}
}

// judge takes a result, and returns how long to wait for the next try.
func (t *trial) judge(done CheckDone) (wait time.Duration) {
	switch {
	case done.Local: // it says nothing of the server
		return t.cfg.DelayLoop
	case done.OK || t.cfg.MiscDynamic && done.Exit > 1:
		wait = t.succeed()
	default:
		wait = t.fail()
		done.Exit = t.exit // as long as the check is up
	}
	t.ran = true
	t.weigh(done.Exit)
	return wait
}

func (t *trial) succeed() time.Duration {
	t.failures = 0
	last := t.url >= len(t.cfg.URLs)-1
	pass := !t.passed // a pass that must not take long
	switch {
	case len(t.cfg.URLs) == 0:
		t.up = true
	case !t.up && !t.clean: // the one that failed answers: now all of them
		t.clean, t.url = true, 0
	case !last:
		t.url++
	default:
		t.up, t.clean, t.passed, t.url = true, false, true, 0
	}
	t.known = t.known || t.up
	if t.cfg.FastRecovery && pass && !t.passed {
		return 0
	}
	return t.cfg.DelayLoop
}

// left is how many further failures decide nothing yet. The first result decides at once,
// but keepalived begins to count anew at each SMTP_CHECK, also of a server that is down.
func (t *trial) left() int {
	if t.up && t.ran || t.cfg.Kind == "SMTP_CHECK" {
		return t.cfg.Retry - t.failures
	}
	return 0
}

func (t *trial) fail() time.Duration {
	if t.left() > 0 {
		t.failures++
		return t.cfg.DelayBeforeRetry
	}
	t.up, t.known, t.clean, t.passed, t.failures = false, true, false, false, 0
	if len(t.cfg.URLs) > 0 {
		return max(t.cfg.DelayLoop, t.cfg.DelayBeforeRetry)
	}
	return t.cfg.DelayLoop
}

// weigh takes the exit status of a script with misc_dynamic: 2 to 255 ask for a weight of
// 0 to 253, and 0 for the configured one. A check that is down adds nothing.
func (t *trial) weigh(exit int) {
	t.exit, t.adjust = 0, 0
	if t.cfg.MiscDynamic && t.up && exit > 1 {
		t.exit, t.adjust = exit, exit-2-t.cfg.ServerWeight
	}
}

// read takes the number of a tracked file (reference 1.13).
func (t *trial) read(value int) {
	t.ran, t.known = true, true
	if t.cfg.Weight == 0 {
		t.up, t.adjust = (value == 0) != t.cfg.Reverse, 0
		return
	}
	product := int64(value) * int64(t.cfg.Weight)
	if t.cfg.Reverse {
		product = -product
	}
	if t.up = product > -1<<31; !t.up {
		product = 0
	}
	t.adjust = int(min(product, 1<<31-1))
}

// told takes the state of a session of BFD: without retries (reference 1.12).
func (t *trial) told(up bool) { t.up, t.ran, t.known = up, true, true }

// under is what stays known when the check is configured anew (reference 5.3).
func (t trial) under(c *config.Check) trial {
	t.cfg = c
	t.failures = min(t.failures, c.Retry)
	t.url = min(t.url, max(0, len(c.URLs)-1))
	t.weigh(t.exit)
	return t
}
