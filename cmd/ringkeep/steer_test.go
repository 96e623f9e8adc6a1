package main

import (
	"net/netip"
	"testing"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
)

// Two virtual servers of one service of the kernel are one for who steers it, with the servers
// of both.
func TestServiceOfSeveral(t *testing.T) {
	at := netip.MustParseAddrPort
	key := forward.ServiceKey{Protocol: 6, Addr: at("10.0.0.100:80")}
	views := []node.ServiceView{
		{Key: key, Kernel: true, Servers: []node.ServerView{{Addr: at("10.0.0.7:80")}}, SorryServer: at("10.0.0.9:80")},
		{Key: key, Kernel: true, Servers: []node.ServerView{{Addr: at("10.0.0.7:80")}, {Addr: at("10.0.0.8:80")}}, SorryServer: at("10.0.0.9:80")},
	}
	v, err := serviceNamed(views, "10.0.0.100:80")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"10.0.0.7", "10.0.0.8:80", "10.0.0.9"} {
		if s, err := serverNamed(v, name); err != nil || s.Addr().String() != name[:8] {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	views[1].Key.Protocol = 17
	if _, err := serviceNamed(views, "10.0.0.100:80"); err == nil {
		t.Error("one of two protocols")
	}
}
