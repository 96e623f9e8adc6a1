package forward

import (
	"testing"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/sched"
)

// TestServersComeAndGoUnderLoad adds a server to ten with 10,000 established flows, of
// every scheduler, and removes another one: no flow moves. Of new connections of the same
// clients mh sends no more elsewhere than have to go, and the 1.03 % of the other servers' that
// its table of 4093 places costs with ten servers.
func TestServersComeAndGoUnderLoad(t *testing.T) {
	const clients, servers, leaves, comes = 10_000, 10, 3, 99
	for _, scheduler := range sched.Names {
		t.Run(scheduler, func(t *testing.T) {
			t.Parallel()
			f := serving(t, Config{MaxConns: 3 * clients, Seed: 1}, Service{Key: web, Scheduler: scheduler})
			add := func(n int) {
				if _, err := f.AddServer(web, Server{Addr: serverAddr(n), Weight: 4000}); err != nil {
					t.Fatal(err)
				}
			}
			for n := range servers {
				add(n)
			}
			send := func(client uint32, port uint16, flags uint8) (Verdict, int) {
				d := f.Packet(0, Ingress{}, segment(0x0a020000+client, port, flags))
				return d.Verdict, int(f.servers[d.Server].Addr.Addr().As4()[3])
			}
			opened := func(port uint16) (at [clients]int) {
				for c := range uint32(clients) {
					v, n := send(c, port, proto.TCPSyn)
					if v != Forward {
						t.Fatalf("client %d: %v", c, v)
					}
					at[c] = n
				}
				return at
			}
			stays := func(port uint16, at *[clients]int, gone int) {
				t.Helper()
				for c := range uint32(clients) {
					v, n := send(c, port, proto.TCPAck)
					if at[c] == gone && v != ServerGone || at[c] != gone && (v != Forward || n != at[c]) {
						t.Fatalf("client %d of server %d: %v to %d", c, at[c], v, n)
					}
				}
			}
			first := opened(1)
			add(comes)
			stays(1, &first, -1)
			second := opened(2)
			f.RemoveServer(web, serverAddr(leaves))
			stays(1, &first, leaves)
			stays(2, &second, leaves)
			third := opened(3)
			if scheduler != "mh" {
				return
			}
			toNew, elsewhere, orphans, moved := 0, 0, 0, 0
			for c := range clients {
				switch {
				case second[c] == first[c]:
				case second[c] == comes:
					toNew++
				default:
					elsewhere++
				}
				switch {
				case second[c] == leaves:
					orphans++
				case third[c] != second[c]:
					moved++
				}
			}
			t.Logf("a server comes: %d to it, %d elsewhere; one of %d leaves: %d of others move", toNew, elsewhere, orphans, moved)
			if share := clients / (servers + 1); toNew < share*9/10 || toNew > share*11/10 || elsewhere > clients*15/1000 || moved > clients*15/1000 {
				t.Errorf("%d to the new server, expected were %d; %d and %d of others moved", toNew, share, elsewhere, moved)
			}
		})
	}
}
