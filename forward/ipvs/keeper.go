package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Wanted is what the kernel's IPVS is to have.
type Wanted struct {
	Services []Service
	Timeouts Timeouts // 0 is what the kernel had before
	Sync     bool     // of the synchronization daemons exactly these run; without it they are let alone
	Daemons  []Daemon // one of each role at most
	Flush    bool     // what was there before goes, once
}

// Timeouts are those of [Kernel.Timeouts].
type Timeouts struct{ TCP, Fin, UDP time.Duration }

// Keeper keeps the kernel as it is wanted, from when it has IPVS. It is not safe for
// concurrent use.
type Keeper struct {
	kernel   *Kernel
	services *Reconciler
	daemons  map[Role]pair
	first    *Timeouts // what the kernel had; nil while they were not touched
	set      Timeouts  // what it was given
	flushed  bool
}

// pair is a daemon as it was asked for, and as the kernel had it then.
type pair struct{ asked, got Daemon }

// NewKeeper has touched nothing yet.
func NewKeeper() *Keeper { return &Keeper{services: NewReconciler(nil), daemons: map[Role]pair{}} }

// Keep makes the kernel as it is wanted and returns what that took, in ipvsadm's words: done
// is all of it, restored the part that somebody else had changed since the last call. Without
// IPVS the error is [ErrMissing]. After an error the next call tries again.
func (k *Keeper) Keep(w Wanted) (done, restored []string, err error) {
	if err := k.open(); err != nil {
		return nil, nil, err
	}
	if w.Flush && !k.flushed {
		if err := k.kernel.Flush(); err != nil {
			return nil, nil, k.lost(fmt.Errorf("flush: %w", err))
		}
		done, k.flushed = append(done, "-C"), true
	}
	have, err := k.kernel.Services()
	if err != nil {
		return done, nil, k.lost(err)
	}
	commands, err := k.services.reconcile(w.Services, have)
	for _, c := range commands {
		done = append(done, c.String())
		if c.Restores {
			restored = append(restored, c.String())
		}
	}
	add := func(text string, again bool) {
		done = append(done, text)
		if again {
			restored = append(restored, text)
		}
	}
	err = errors.Join(err, k.timeouts(w.Timeouts, add), k.sync(w, add))
	return done, restored, err
}

// open opens the kernel unless it is, also after it was lost.
func (k *Keeper) open() error {
	if k.kernel != nil {
		return nil
	}
	kernel, err := Open()
	if err == nil {
		k.kernel, k.services.kernel = kernel, kernel
	}
	return err
}

// lost closes a kernel that does not answer as it did: its module may have been unloaded.
func (k *Keeper) lost(err error) error {
	k.kernel.Close()
	k.kernel = nil
	return err
}

// timeouts sets what is not as it should be.
func (k *Keeper) timeouts(want Timeouts, add func(text string, again bool)) error {
	if k.first == nil && want == (Timeouts{}) {
		return nil
	}
	var is Timeouts
	var err error
	if is.TCP, is.Fin, is.UDP, err = k.kernel.Timeouts(); err != nil {
		return err
	}
	if k.first == nil {
		first := is
		k.first, k.set = &first, is
	}
	want = Timeouts{cmp.Or(want.TCP, k.first.TCP), cmp.Or(want.Fin, k.first.Fin), cmp.Or(want.UDP, k.first.UDP)}
	if is == want {
		k.set = want
		return nil
	}
	if err := k.kernel.SetTimeouts(want.TCP, want.Fin, want.UDP); err != nil {
		return err
	}
	add(fmt.Sprintf("--set %d %d %d", want.TCP/time.Second, want.Fin/time.Second, want.UDP/time.Second), is != k.set)
	k.set = want
	return nil
}

// sync has exactly the wanted daemons run: those that are not end first.
func (k *Keeper) sync(w Wanted, add func(text string, again bool)) error {
	if !w.Sync && len(k.daemons) == 0 {
		return nil
	}
	list, err := k.kernel.Daemons()
	if err != nil {
		return err
	}
	type start struct {
		Daemon
		again bool
	}
	var starts []start
	for _, role := range []Role{Master, Backup} {
		is, there := ofRole(list, role)
		want, wants := ofRole(w.Daemons, role)
		ours, was := k.daemons[role]
		if there == wants && was == wants && ours == (pair{want, is}) || !w.Sync && !was {
			continue
		}
		if there {
			if err := except(k.kernel.StopDaemon(is), syscall.ESRCH); err != nil {
				return err
			}
			add("--stop-daemon "+role.String(), was && ours.got != is)
		}
		delete(k.daemons, role)
		if wants {
			starts = append(starts, start{want, was && ours.asked == want})
		}
	}
	for _, s := range starts {
		if err := k.start(s.Daemon); err != nil {
			return err
		}
		add(fmt.Sprintf("--start-daemon %v --mcast-interface %s --syncid %d", s.Role, s.Interface, s.ID), s.again)
	}
	return nil
}

func ofRole(list []Daemon, role Role) (Daemon, bool) {
	for _, d := range list {
		if d.Role == role {
			return d, true
		}
	}
	return Daemon{}, false
}

// start starts a daemon and notes what the kernel made of it.
func (k *Keeper) start(d Daemon) error {
	if err := k.kernel.StartDaemon(d); err != nil {
		return err
	}
	list, err := k.kernel.Daemons()
	if is, ok := ofRole(list, d.Role); ok {
		k.daemons[d.Role] = pair{d, is}
	}
	return err
}

// Release gives back what the kernel has of ours: the services, or with flush all that there
// are, the daemons and the timeouts. It does nothing where Keep never found IPVS, or it is gone.
func (k *Keeper) Release(flush bool) error {
	if k.services.kernel == nil {
		return nil
	}
	err := k.open()
	if errors.Is(err, ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	err = k.services.Release()
	if flush {
		err = errors.Join(err, k.kernel.Flush())
	}
	for role, d := range k.daemons {
		err = errors.Join(err, except(k.kernel.StopDaemon(d.got), syscall.ESRCH))
		delete(k.daemons, role)
	}
	if k.first != nil {
		err = errors.Join(err, k.kernel.SetTimeouts(k.first.TCP, k.first.Fin, k.first.UDP))
	}
	k.Close()
	return err
}

// Close lets the kernel be as it is.
func (k *Keeper) Close() {
	if k.kernel != nil {
		k.kernel.Close()
		k.kernel = nil
	}
}

// String is ipvsadm's word for it.
func (r Role) String() string {
	if r == Master {
		return "master"
	}
	return "backup"
}
