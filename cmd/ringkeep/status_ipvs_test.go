package main

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// TestTogether: virtual servers that share a service of the kernel are one by its name, with all
// servers; one is up where any of them has it up.
func TestTogether(t *testing.T) {
	key := func(addr string) forward.ServiceKey {
		return forward.ServiceKey{Protocol: proto.ProtocolTCP, Addr: netip.MustParseAddrPort(addr)}
	}
	server := func(addr string, up bool, weight, checks int) node.ServerView {
		return node.ServerView{Addr: netip.MustParseAddrPort(addr), Up: up, Weight: weight, Checks: make([]node.CheckView, checks)}
	}
	list := together([]node.ServiceView{
		{Key: key("10.0.0.1:80"), Kernel: true, Quorum: true, Servers: []node.ServerView{server("10.0.0.7:80", false, 1, 1), server("10.0.0.8:80", true, 2, 1)}},
		{Key: key("10.0.0.2:80")},
		{Key: key("10.0.0.1:80"), Kernel: true, Sorry: true, SorryServer: netip.MustParseAddrPort("10.0.0.9:80"),
			Servers: []node.ServerView{server("10.0.0.7:80", true, 3, 2), server("10.0.0.8:80", false, 4, 0), server("10.0.0.6:80", true, 5, 0)}},
	})
	view, err := serviceNamed(list, "10.0.0.1:80")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d services, %v", len(list), err)
	}
	got := ""
	for _, s := range view.Servers {
		got += fmt.Sprintf("%v up %v weight %d checks %d\n", s.Addr, s.Up, s.Weight, len(s.Checks))
	}
	if want := "10.0.0.7:80 up true weight 3 checks 3\n10.0.0.8:80 up true weight 2 checks 1\n10.0.0.6:80 up true weight 5 checks 0\n"; got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	if !view.Quorum || !view.Sorry || !view.SorryServer.IsValid() {
		t.Errorf("%+v", view)
	}
}
