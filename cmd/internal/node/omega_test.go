package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestOmega: at the end the down scripts run where omega is written, of servers that were up
// and of the service whatever it was (reference 2.5); else nothing is said.
func TestOmega(t *testing.T) {
	text := func(omega string) string {
		return "global_defs {\n notification_email {\n  a@b\n }\n smtp_server 192.0.2.1\n}\n" +
			"virtual_server 10.0.0.1 80 {\n lb_kind DR\n protocol TCP\n smtp_alert\n quorum 2\n quorum_down /bin/lost\n" + omega +
			" real_server 10.0.0.7 80 {\n  notify_down /bin/down7\n  TCP_CHECK {\n  }\n }\n real_server 10.0.0.8 80 {\n  notify_down /bin/down8\n  TCP_CHECK {\n  }\n }\n" +
			" real_server 10.0.0.9 80 {\n  notify_down /bin/down9\n  TCP_CHECK {\n  }\n }\n}\n"
	}
	const rs, vs = " of virtual server [10.0.0.1]:tcp:80 - DOWN: Shutting down", "mail Virtualserver [10.0.0.1]:tcp:80 - DOWN: Shutting down"
	down := func(last int) []string {
		server := fmt.Sprintf("[10.0.0.%d]:tcp:80", last)
		return []string{fmt.Sprintf("run /bin/down%d", last), "RS " + server + " [10.0.0.1]:tcp:80 DOWN", "mail Realserver " + server + rs}
	}
	end := []string{"run /bin/lost", "VS [10.0.0.1]:tcp:80 DOWN", vs}
	for _, tt := range []struct {
		omega string
		fail  []int
		want  []string
	}{
		{"", nil, nil},
		{"omega\n", nil, slices.Concat(down(7), down(8), down(9), end)},
		{"omega\n", []int{1}, slices.Concat(down(7), down(9), end)},
		{"omega\n", []int{0, 1}, slices.Concat(down(9), end)}, // the quorum was lost before
		{"omega\n", []int{0, 1, 2}, end},
	} {
		m := newMachine(t, parse(t, text(tt.omega)))
		for i := range 3 {
			m.step(CheckDone{Check: i, OK: !slices.Contains(tt.fail, i), Reason: "test"})
		}
		m.step(Stop{})
		var got []string
		for _, a := range m.actions {
			switch a := a.(type) {
			case Notify:
				got = append(got, "run "+strings.Join(a.Command.Args, " "))
			case Line:
				got = append(got, a.Text)
			case Mail:
				got = append(got, "mail "+a.Subject+": "+a.Body)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q without %v:\ngot  %q\nwant %q", tt.omega, tt.fail, got, tt.want)
		}
		if _, waits := m.n.Deadline(); waits {
			t.Error("something is still to be done")
		}
	}
}

// TestHASuspend: no tries while no interface has the address, and the servers stay as they
// were; the first try comes with the next turn, and a second interface with the address
// keeps the checks going (reference 2.4).
func TestHASuspend(t *testing.T) {
	text := strings.Replace(shop(80, "ha_suspend\n", "TCP_CHECK {\n retry 0\n }\n"), "10.0.0.1", "10.0.0.99", 1)
	m := newMachine(t, parse(t, text))
	var told []string
	note := func() {
		for _, a := range m.actions {
			if s, ok := a.(CheckSuspended); ok {
				told = append(told, fmt.Sprint(s.Name, " ", s.Suspended, " ", s.Begins))
			}
		}
	}
	vip := netip.MustParsePrefix("10.0.0.99/32")
	move := func(port int, here bool) {
		m.step(AddressChanged{Port: port, Prefix: vip, Present: here})
		note()
	}
	note()
	expect := func(what, tries, alive string, seconds int, good bool) {
		t.Helper()
		if got := fmt.Sprint(m.tries(t, m.now+second(seconds), good)); got != tries || m.alive() != alive {
			t.Errorf("%s: tries %s, alive %s", what, got, m.alive())
		}
	}
	expect("away", "[]", "true", 25, false)
	move(1, true) // at 25 s, of turns at 1, 11, 21 ...
	expect("here", "[31s:0]", "false", 10, false)
	move(2, true)
	move(1, false)
	expect("on another interface", "[41s:0]", "false", 10, false)
	move(2, false)
	expect("away again", "[]", "false", 40, true)
	move(1, true)
	expect("and back", "[1m31s:0]", "true", 10, true)
	if want := []string{"[10.0.0.7]:tcp:80 true true", "[10.0.0.7]:tcp:80 false false", "[10.0.0.7]:tcp:80 true false", "[10.0.0.7]:tcp:80 false false"}; !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
}
