package main

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/net/bpf"

	"github.com/ringkeep/ringkeep/cmd/internal/loop"
	"github.com/ringkeep/ringkeep/ring"
	"github.com/ringkeep/ringkeep/ring/flowtable"
)

// mostFlows is how many flows the kernel moves for a worker: those with the most packets, of
// which there are few.
const mostFlows = 4096

// offloader has the kernel move flows past the rings of a director, or not, without tables.
type offloader struct {
	tables []*flowtable.Table // of each worker, the node's own loop first
	loop   *loop.Loop
	log    *slog.Logger
	turn   int // counts what rings and filters were changed
	making sync.WaitGroup
	ends   atomic.Bool
}

// newOffloader makes a table for each worker. It does without where the kernel has no such thing.
func newOffloader(workers int, log *slog.Logger) *offloader {
	o := &offloader{log: log}
	for range workers {
		t, err := flowtable.NewTable(mostFlows)
		if err != nil {
			o.without(err)
			o.close()
			break
		}
		o.tables = append(o.tables, t)
	}
	return o
}

func (o *offloader) without(err error) {
	o.log.Info("no flow is offloaded to the kernel", "reason", err)
}

// table is that of a worker, nil for none.
func (o *offloader) table(worker int) loop.Flows {
	if worker < len(o.tables) {
		return o.tables[worker]
	}
	return nil
}

func (o *offloader) close() {
	o.ends.Store(true)
	o.making.Wait()
	for _, t := range o.tables {
		t.Close()
	}
	o.tables = nil
}

// filters are the versions of a filter for the workers.
func (o *offloader) filters(classic []bpf.RawInstruction) (list []*ebpf.Program, err error) {
	for _, t := range o.tables {
		p, err := t.Filter(classic)
		if err != nil || o.ends.Load() {
			return list, err
		}
		list = append(list, p)
	}
	return list, nil
}

// offloadSoon is offload, when the loop is done with what it is at: rings, or what they take, have
// changed.
func (d *director) offloadSoon() {
	d.offloader.turn++ // filters that are being made are those of before
	if l := d.offloader.loop; l != nil {
		l.Do(d.offload)
	}
}

// offload has the kernel move flows again after the rings or what they take has changed. The kernel
// takes its time to look at long filters: the loop does not wait for that.
func (d *director) offload() {
	o := d.offloader
	if len(o.tables) == 0 {
		return
	}
	turn := o.turn
	if d.offloads() {
		o.loop.Offload()
		return
	}
	classic, err := ring.ServiceFilter(d.matches())
	if err != nil {
		o.without(err)
		return
	}
	o.making.Go(func() {
		filters, err := o.filters(classic)
		o.loop.Do(func() {
			if turn == o.turn {
				d.replace(filters, err)
			}
			for _, p := range filters {
				p.Close()
			}
		})
	})
}

// offloads tells whether all rings for services leave out what is moved.
func (d *director) offloads() bool {
	for port := range d.ports {
		if slices.ContainsFunc(d.rings(port), func(s *ring.Socket) bool { return !s.Offloads() }) {
			return false
		}
	}
	return true
}

// replace gives all rings for services their new filters, if there is no error, and begins.
func (d *director) replace(filters []*ebpf.Program, err error) {
	for port := range d.ports {
		for worker, s := range d.rings(port) {
			if err == nil {
				err = s.Offload(d.offloader.tables[worker], filters[worker])
			}
		}
	}
	if err != nil {
		d.offloader.without(err)
		return
	}
	d.offloader.loop.Offload()
}
