package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/loop"
)

// reloader gives the running daemon its file again.
type reloader struct {
	file     string
	options  config.Options
	prepare  func(*config.Config) error // what is done to every configuration before the node has it
	director *director
	loop     *loop.Loop
	pipes    *fifos
	post     *mailbox
	booted   time.Duration // how long before the start the host was
	log      *slog.Logger

	slice  sync.Mutex       // see between
	mu     sync.Mutex       // one reload at a time
	cfg    *config.Config   // that runs
	before []config.Message // what was found in its file
}

// wish is what somebody who reloads wants.
type wish struct {
	dry   bool // only tell the difference
	force bool // take warnings that the running file has not
}

// reload reads the file, and if nothing is wrong with it has the loop go on with it. It
// returns the difference, line by line; after an error nothing has changed.
func (r *reloader) reload(ctx context.Context, w wish) (changes []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		switch {
		case w.dry:
		case err != nil:
			r.log.Error("not reloaded, nothing has changed", "err", err)
		default:
			r.log.Info("Reload complete", "changes", len(changes))
		}
	}()
	cfg, messages, err := r.read(w)
	if err != nil {
		return nil, err
	}
	for _, c := range config.Diff(r.cfg, cfg) {
		changes = append(changes, c.String())
	}
	if w.dry {
		return changes, nil
	}
	done := make(chan error, 1)
	r.loop.Do(func() { done <- r.apply(ctx, cfg, changes) })
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.New("the daemon stops")
	}
	if err != nil {
		return nil, err
	}
	r.cfg, r.before = cfg, messages
	return changes, nil
}

// read reads the file and judges it.
func (r *reloader) read(w wish) (*config.Config, []config.Message, error) {
	defer r.lock()()
	cfg, messages, err := config.Load(r.file, r.options)
	if err != nil {
		return nil, nil, err
	}
	if path := r.cfg.Global.ReloadCheckConfig.Value; path != "" {
		if err := record(path, messages); err != nil {
			r.log.Warn("findings not written", "err", err)
		}
	}
	if errors, _ := count(messages); errors > 0 || !w.force {
		if err := cfg.Unfit(messages, r.cfg, r.before); err != nil {
			return nil, nil, err
		}
	}
	return cfg, messages, r.prepare(cfg)
}

// record writes what was found to the file of reload_check_config.
func record(path string, messages []config.Message) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	show(f, messages)
	return f.Close()
}

// lock makes the file of reload_file, by which others see that the configuration is being
// read, and returns what removes it.
func (r *reloader) lock() (unlock func()) {
	s := r.cfg.Global.ReloadFile
	if !s.On {
		return func() {}
	}
	path := s.Value
	if path == "" {
		path = "/run/keepalived.reload"
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		r.log.Warn("no reload_file", "err", err)
		return func() {}
	}
	return func() { os.Remove(path) }
}

// apply belongs to the loop's thread.
func (r *reloader) apply(ctx context.Context, cfg *config.Config, changes []string) error {
	d := r.director
	if err := makeVMACs(d.kernel, cfg); err != nil {
		return errors.Join(err, d.keepVMACs())
	}
	links, err := d.kernel.Links()
	if err != nil {
		return err
	}
	all := slices.Clone(d.links)
	for _, l := range append(links, missing(cfg, links, r.log)...) {
		if !slices.ContainsFunc(all, func(o kernel.Link) bool { return o.Name == l.Name }) {
			all = append(all, l)
		}
	}
	err = r.loop.Reload(delayed(cfg, r.booted), nodeLinks(all), func() {
		for _, c := range changes {
			r.log.Info("configuration", "change", c)
		}
		d.cfg, d.links = cfg, all
		if err := d.follow(); err != nil {
			r.log.Error("the new configuration lacks a socket", "err", err)
		}
		if d.coarser() {
			r.log.Warn("persistence is coarser than it was at the start: clients of one network may come to several workers, each with templates of its own, until the daemon starts anew")
		}
		d.followBFD()
		r.loop.Ports, r.loop.Loopback = d.ports, d.loopback
		r.pipes.follow(ctx, &cfg.Global)
		r.post.follow(&cfg.Global)
		r.loop.Know(all)
		r.loop.Route(d.kernel)
	})
	d.offloadSoon()
	return errors.Join(err, d.keepVMACs())
}

// errorLines writes an error as the answer to who asked.
func errorLines(err error) string { return fmt.Sprintf("error\n%v\n", err) }
