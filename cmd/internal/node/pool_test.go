package node

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestOrderAfterAReload: who stays keeps its place in the list, whatever changes about it; who
// is new comes to the head, in the order of the file (reference: the kernel's edit and add).
func TestOrderAfterAReload(t *testing.T) {
	file := func(servers ...string) string {
		return "virtual_server 10.0.0.1 80 {\nlb_algo rr\nlb_kind DR\nprotocol TCP\n" + strings.Join(servers, "\n") + "\n}\n"
	}
	server := func(last int, lines string) string {
		return fmt.Sprintf("real_server 10.0.0.%d 80 {\n%s\n}", last, lines)
	}
	m := newMachine(t, parse(t, file(server(2, ""), server(3, ""), server(4, ""))))
	for _, step := range []struct{ text, want string }{
		{file(server(2, ""), server(3, "lvs_method TUN"), server(4, "")), "10.0.0.4:80 DR 1 | 10.0.0.3:80 TUN 1 | 10.0.0.2:80 DR 1"},
		{file(server(2, ""), server(3, "lvs_method TUN type gre csum"), server(4, "")), "10.0.0.4:80 DR 1 | 10.0.0.3:80 TUN 1 {Type:2 Sum:1 Port:0} | 10.0.0.2:80 DR 1"},
		{file(server(4, "weight 7\nuthreshold 9"), server(3, "lvs_method NAT"), server(2, "")), "10.0.0.4:80 DR 7 (0-9) | 10.0.0.3:80 NAT 1 | 10.0.0.2:80 DR 1"},
		{file(server(5, ""), server(4, ""), server(6, ""), server(2, "")), "10.0.0.6:80 DR 1 | 10.0.0.5:80 DR 1 | 10.0.0.4:80 DR 1 | 10.0.0.2:80 DR 1"},
		{file(server(2, ""), server(3, ""), server(4, "")), "10.0.0.3:80 DR 1 | 10.0.0.4:80 DR 1 | 10.0.0.2:80 DR 1"},
	} {
		m.reload(t, parse(t, step.text))
		if got := m.pools(); got != "TCP 10.0.0.1:80 | "+step.want+"\n" {
			t.Errorf("got\n%swant\n%s\n", got, step.want)
		}
	}
}

// TestReloadedForYears gives a director other servers and services hundreds of times: it keeps
// no more than it needs.
func TestReloadedForYears(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	file := func() string {
		var b strings.Builder
		for service := range 1 + random.IntN(2) {
			fmt.Fprintf(&b, "virtual_server_group G%d {\n10.0.1.%d 80\n10.0.1.%d 81\n}\n", service, random.IntN(250), random.IntN(250))
			fmt.Fprintf(&b, "virtual_server group G%d {\nlb_kind NAT\nprotocol TCP\n", service)
			for range 1 + random.IntN(3) {
				fmt.Fprintf(&b, "real_server 10.0.0.%d %d {\n}\n", 2+random.IntN(20), 1+random.IntN(60000))
			}
			b.WriteString("}\n")
		}
		return b.String()
	}
	m, _ := workers(t, file())
	for range 300 {
		m.reload(t, parse(t, instanceText("A", "", 100)+file()))
	}
	if len(m.n.hops) > 40 || len(m.n.neighbours) > 10 {
		t.Errorf("%d hops and %d neighbours, of twelve servers at most", len(m.n.hops), len(m.n.neighbours))
	}
}
