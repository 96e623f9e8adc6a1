package main

import (
	"log/slog"
	"os"
	"testing"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/ring"
)

// A port without its rings for services, whose filter cannot be made, keeps the rest, which
// another try does not open again; and the workers have a place for it, since their frames may
// be for a server there.
func TestServiceNotOpened(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("packet sockets need root")
		}
		t.Skip("packet sockets need root")
	}
	cfg, messages := config.Parse("f", []byte(`global_defs {
    @ringkeep packet_mark 7 tcp dport 3-9
}
virtual_server fwmark 7 {
    real_server 10.0.0.7 {
    }
}
`), config.Options{})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	cfg.Global.PacketMarks[0].DestinationPorts[0].From = 10
	links := []kernel.Link{{Name: "lo", Index: 1, Up: true}}
	n, err := node.New(cfg, nodeLinks(links), 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &director{cfg: cfg, node: n, links: links, log: slog.New(slog.DiscardHandler), offloader: &offloader{}}
	defer d.close()
	if err := d.addWorkers(3); err != nil {
		t.Fatal(err)
	}
	if d.poller, err = ring.NewPoller(); err != nil {
		t.Fatal(err)
	}
	d.addPort()
	for range 2 {
		if err := d.use(0, node.Use{Control: true, Service: true}); err == nil {
			t.Fatal("there is a ring for services")
		}
		if len(d.opened) != 1 || d.ports[0].Control == nil || d.uses[0].Service {
			t.Fatalf("%d sockets, %+v, %+v", len(d.opened), d.ports[0], d.uses[0])
		}
	}
	for _, w := range d.workers {
		if len(w.Ports) != 1 {
			t.Errorf("a worker has %d ports", len(w.Ports))
		}
	}
}
