package model

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/ring/pcap"
)

func parse(t *testing.T, lines string) *config.Config {
	t.Helper()
	cfg, messages := config.Parse("x.conf", []byte(lines+"\nvrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n virtual_ipaddress {\n 10.0.0.100\n }\n track_script {\n chk\n }\n unicast_peer {\n 192.168.7.7\n }\n}\n"), config.Options{ConfigID: "x"})
	for _, m := range messages {
		if m.Level == config.Error {
			t.Fatal(m)
		}
	}
	return cfg
}

// A model begins at any time, takes its script for good and its peer for a neighbour,
// wherever that is, and has the address that it asks for.
func TestTakesAllForWell(t *testing.T) {
	var log []string
	links := []node.Link{{Name: "eth0", MAC: proto.MAC{2, 0, 0, 0, 0, 1}, Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}}
	m, err := New(parse(t, "vrrp_script chk {\n script /bin/false\n interval 1\n}"), links, func(at time.Duration, a node.Action) {
		switch a := a.(type) {
		case node.Changed:
			log = append(log, fmt.Sprintf("%v %v", at, a.Changed))
		case node.Send:
			if v, err := proto.ParseIPv4(proto.Ethernet(a.Frame).Payload()); err == nil {
				log = append(log, fmt.Sprintf("%v to %v", at, v.Dst()))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Start(-10 * time.Second)
	m.Before(-5 * time.Second)
	m.Stop(-5 * time.Second)
	got := strings.Join(log, "; ")
	want := "-10s INIT -> BACKUP; -6.390625s BACKUP -> MASTER; -6.390625s to 192.168.7.7; -5.390625s to 192.168.7.7; -5s MASTER -> INIT; -5s to 192.168.7.7"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if state, p := m.State("VI_1"); state != "INIT" || p != 100 {
		t.Errorf("state %s, priority %d", state, p)
	}
	if state, _ := m.State("VI_2"); state != "" {
		t.Errorf("an instance that is none is %s", state)
	}
}

// Neighbours of BFD are taken to be there, as scripts are to succeed, and cost no time.
func TestBFDIsUp(t *testing.T) {
	const conf = "bfd_instance b {\n neighbor_ip 10.0.0.2\n passive\n}\nvrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n track_bfd {\n b\n }\n virtual_ipaddress {\n 10.0.0.100\n }\n}\n"
	cfg, _ := config.Parse("x", []byte(conf), config.Options{})
	packets := 0
	m, err := New(cfg, []node.Link{{Name: "eth0", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}}, func(_ time.Duration, a node.Action) {
		if _, ok := a.(node.SendBFD); ok {
			packets++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Start(0)
	if state, _ := m.State("VI_1"); state != "BACKUP" {
		t.Errorf("%s after the start", state)
	}
	m.Before(24 * time.Hour)
	if state, _ := m.State("VI_1"); state != "MASTER" || packets > 40 {
		t.Errorf("%s after a day and %d packets", state, packets)
	}
	m.Stop(24 * time.Hour)
}

// What arrives at the very moment of a timer counts before it.
func TestBefore(t *testing.T) {
	m, err := New(parse(t, "vrrp_script chk {\n script /bin/false\n}"), []node.Link{{Name: "eth0", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}}, func(time.Duration, node.Action) {})
	if err != nil {
		t.Fatal(err)
	}
	m.Start(0)
	down := 3609375 * time.Microsecond
	m.Before(down)
	if state, _ := m.State("VI_1"); state != "BACKUP" {
		t.Errorf("%s before %v", state, down)
	}
	m.Before(down + 1)
	if state, _ := m.State("VI_1"); state != "MASTER" {
		t.Errorf("%s after %v", state, down)
	}
}

// What the lab dropped, its comment tells: a line for each host.
func TestWays(t *testing.T) {
	garp := func(i byte) []byte {
		return proto.AppendGratuitousARP(nil, proto.MAC{2, 0, 0, 0, 0, i}, netip.AddrFrom4([4]byte{10, 0, 0, i}))
	}
	interfaces := []pcap.Interface{{Name: "a:eth0", Description: "lan x"}, {Name: "b:eth0", Description: "lan x"}, {Name: "c:eth0", Description: "lan y"}}
	toAnother := append([]byte{2, 0, 0, 0, 0, 9}, garp(2)[6:]...)
	for _, c := range []struct {
		from    int
		data    []byte
		comment string
		want    Way
	}{
		{1, garp(2), "", Heard},
		{1, garp(2), "from b: MASTER of VI_1\nto a: VI_1 yields: 200 is higher than 100", Heard},
		{0, garp(1), "", Sent},
		{0, garp(1), "to b: dropped by: partition", Sent},
		{2, garp(3), "", Elsewhere},
		{1, toAnother, "", Elsewhere},
		{1, []byte{1, 2}, "", Elsewhere},
		{1, garp(2), "from b: MASTER of VI_1\nto a: dropped by: partition a | b d\nto d: dropped by: drop b", Lost},
		{1, garp(2), "to d: dropped by: drop b to d vrrp", Heard},
		{1, garp(2), "to a: ignored: bad checksum\nto d: accepted", Lost},
		{1, garp(2), "to a: no instance has VRID 50", Lost},
		{1, garp(2), "to a: ignored: VI_1 is in INIT and takes no part", Heard},
	} {
		path := filepath.Join(t.TempDir(), "x.pcapng")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w, err := pcap.NewWriter(f, interfaces)
		if err == nil {
			err = w.Write(0, time.Unix(1, 0), garp(1), 42, "")
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		seat, err := Find(parse(t, ""), Place{Node: "a"}, path)
		if err != nil {
			t.Fatal(err)
		}
		if got := seat.Links[1]; got.MAC != (proto.MAC{2, 0, 0, 0, 0, 1}) || len(got.Prefixes) != 1 || got.Prefixes[0].String() != "10.0.0.1/32" {
			t.Errorf("found %+v", got)
		}
		if _, got := seat.Way(pcap.Packet{Interface: interfaces[c.from].Name, Data: c.data, Comment: c.comment}); got != c.want {
			t.Errorf("from %s %q: %v, want %v", interfaces[c.from].Name, c.comment, got, c.want)
		}
		f.Close()
	}
}
