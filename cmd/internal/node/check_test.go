package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// oneServer is a service with one server and these lines in it.
func oneServer(t *testing.T, service, server string) *config.Config {
	return parse(t, "track_file drain {\n file /drain\n weight 1\n}\ntrack_file fault {\n file /fault\n weight 0\n}\n"+
		"virtual_server 10.0.0.1 80 {\n lb_algo rr\n lb_kind DR\n protocol TCP\n warmup 0\n"+service+
		" real_server 10.0.0.7 80 {\n  weight 10\n"+server+" }\n}\n")
}

func (m *machine) pool() string {
	var list []string
	for _, s := range m.n.fwd.Services()[0].Servers {
		if s.Present {
			list = append(list, fmt.Sprint(s.Addr, " ", s.Weight))
		}
	}
	return strings.Join(list, ", ")
}

// TestAlphaTellsTheFirstFailure: a server that begins as down is said to be down when that
// is known, once; of web servers nothing is said, and of mail servers after the retries
// (observed of keepalived 2.2.7).
func TestAlphaTellsTheFirstFailure(t *testing.T) {
	const down = "RS [10.0.0.7]:tcp:80 [10.0.0.1]:tcp:80 DOWN"
	for kind, want := range map[string][]string{
		"TCP_CHECK {\n }\n": {down}, "TCP_CHECK {\n }\n TCP_CHECK {\n }\n": {down}, "HTTP_GET {\n url {\n path /\n }\n }\n": nil, "SMTP_CHECK {\n retry 5\n }\n": nil, "SMTP_CHECK {\n retry 1\n }\n": {down},
	} {
		m := newMachine(t, oneServer(t, "alpha\n", kind))
		if m.pool() != "" {
			t.Errorf("%s: in the pool from the start: %s", kind, m.pool())
		}
		for range 3 {
			for i := range m.n.checks {
				m.step(CheckDone{Check: i})
			}
		}
		if !slices.Equal(m.said, want) {
			t.Errorf("%s: told %q, want %q", kind, m.said, want)
		}
	}
}

// TestUrlsTakeTurns: the driver is told which request is to be made.
func TestUrlsTakeTurns(t *testing.T) {
	m := newMachine(t, oneServer(t, "delay_loop 5\n", "HTTP_GET {\n url {\n path /a\n }\n url {\n path /b\n }\n }\n"))
	var asked []int
	for m.now < 20*time.Second {
		m.now, _ = m.n.Deadline()
		for _, a := range m.n.Step(m.now, Tick{}, nil) {
			if c, ok := a.(RunCheck); ok {
				asked = append(asked, c.URL)
				m.step(CheckDone{Check: c.Check, OK: true})
			}
		}
	}
	if !slices.Equal(asked, []int{0, 1, 0, 1, 0}) { // from 1 s on, every 5 s
		t.Errorf("asked %v", asked)
	}
}

// TestFirstTry: one second after the start, and evenly up to warmup later (acceptance case 1).
func TestFirstTry(t *testing.T) {
	for warmup, want := range map[string][4]int{"": {200}, "warmup 4\n": {50, 50, 50, 50}} {
		var seconds [4]int
		for seed := range uint64(200) {
			n, err := New(oneServer(t, warmup, "TCP_CHECK {\n }\n"), hostLinks(), seed+1)
			if err != nil {
				t.Fatal(err)
			}
			n.Step(0, Start{}, nil)
			at := n.timers.at[n.checks[0].timer]
			if at < time.Second || at >= 5*time.Second || warmup == "" && at != time.Second {
				t.Fatalf("%q, seed %d: the first try at %v", warmup, seed+1, at)
			}
			seconds[at/time.Second-1]++
		}
		for i, n := range seconds {
			if n < want[i]*7/10 || n > want[i]*13/10 {
				t.Errorf("%q: %v tries in the four seconds, want about %v", warmup, seconds, want)
			}
		}
	}
}

// TestTriesByDefault: what a check without numbers waits from one try to the next, until its
// server is down (acceptance case 5).
func TestTriesByDefault(t *testing.T) {
	for server, want := range map[string]string{
		"TCP_CHECK {\n }\n": "1m0s 1s", "HTTP_GET {\n url {\n path /\n }\n }\n": "1m0s 3s", "PING_CHECK {\n }\n": "1m0s 1s",
		"DNS_CHECK {\n }\n": "1m0s 1m0s 1m0s 1m0s", "MISC_CHECK {\n misc_path /bin/true\n }\n": "1m0s",
	} {
		m := newMachine(t, oneServer(t, "", server))
		if c := m.n.Check(0); c.Kind != "MISC_CHECK" && c.ConnectTimeout != 5*time.Second {
			t.Errorf("%s: connect_timeout %v", c.Kind, c.ConnectTimeout)
		}
		var waits []string
		for last := time.Duration(0); m.pool() != "" && m.now < time.Hour; {
			m.now, _ = m.n.Deadline()
			for _, a := range m.n.Step(m.now, Tick{}, nil) {
				if c, ok := a.(RunCheck); ok {
					if last > 0 {
						waits = append(waits, fmt.Sprint(m.now-last))
					}
					m.step(CheckDone{Check: c.Check, OK: last == 0})
					last = m.now
				}
			}
		}
		if got := strings.Join(waits, " "); got != want {
			t.Errorf("%s: %s, want %s", m.n.Check(0).Kind, got, want)
		}
	}
}

// TestChecksRestWithTheAddress: ha_suspend (acceptance case 17).
func TestChecksRestWithTheAddress(t *testing.T) {
	m := newMachine(t, parse(t, "virtual_server 10.0.0.100 80 {\n lb_kind DR\n protocol TCP\n delay_loop 5\n warmup 0\n ha_suspend\n real_server 10.0.0.7 80 {\n TCP_CHECK {\n }\n }\n}\n"))
	var told []string
	look := func(actions []Action) {
		for _, a := range actions {
			if _, ok := a.(RunCheck); ok {
				told = append(told, fmt.Sprint("try at ", m.now))
			}
		}
	}
	until := func(end time.Duration) {
		for at, ok := m.n.Deadline(); ok && at <= end; at, ok = m.n.Deadline() {
			m.now = at
			look(m.n.Step(m.now, Tick{}, nil))
		}
		m.now = end
	}
	address := func(present bool) {
		look(m.n.Step(m.now, AddressChanged{Port: 1, Prefix: netip.MustParsePrefix("10.0.0.100/32"), Present: present}, nil))
	}
	look(m.actions)
	until(13 * time.Second)
	address(true)
	until(17 * time.Second)
	m.step(CheckDone{Check: 0})
	m.step(CheckDone{Check: 0, OK: true})
	address(false)
	until(40 * time.Second)
	if got, want := strings.Join(told, ", "), "try at 16s"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if m.pool() != "10.0.0.7:80 1" {
		t.Errorf("pool %s", m.pool())
	}
}

// TestScriptsKeepTheirPeriod: the next run counts from the begin of the last, and comes at
// once where that took longer.
func TestScriptsKeepTheirPeriod(t *testing.T) {
	m := newMachine(t, oneServer(t, "delay_loop 5\n", "MISC_CHECK {\n misc_path /bin/true\n }\n"))
	next := func() time.Duration { return m.n.timers.at[m.n.checks[0].timer] }
	m.n.checks[0].began, m.now = time.Second, 3*time.Second
	m.step(CheckDone{Check: 0, OK: true})
	if next() != 6*time.Second {
		t.Errorf("next at %v", next())
	}
	m.n.checks[0].began, m.now = 6*time.Second, 13*time.Second
	m.step(CheckDone{Check: 0, OK: true})
	actions := m.n.Step(m.now, Tick{}, nil)
	if !slices.ContainsFunc(actions, func(a Action) bool { _, ok := a.(RunCheck); return ok }) {
		t.Errorf("not at once: %v", actions)
	}
}

// TestWeightsOfChecksAddUp: scripts and files together, in the pool and in the quorum, and
// over a reload that changes the configured weight.
func TestWeightsOfChecksAddUp(t *testing.T) {
	server := "MISC_CHECK {\n misc_path /bin/true\n misc_dynamic\n }\n FILE_CHECK {\n track_file drain\n weight -3\n }\n FILE_CHECK {\n track_file fault\n }\n"
	m := newMachine(t, oneServer(t, "", server))
	step := func(ev Event, want string) {
		t.Helper()
		if m.step(ev); m.pool() != want {
			t.Errorf("%+v: pool %q, want %q", ev, m.pool(), want)
		}
	}
	step(CheckDone{Check: 0, OK: true}, "10.0.0.7:80 10")
	step(CheckDone{Check: 0, Exit: 22}, "10.0.0.7:80 20")
	step(FileRead{File: 0, Value: 5}, "10.0.0.7:80 5")
	step(FileRead{File: 0, Value: 50}, "10.0.0.7:80 0")
	if m.said[len(m.said)-1] != "VS [10.0.0.1]:tcp:80 DOWN" {
		t.Errorf("a weight of 0 keeps the quorum: %q", m.said)
	}
	step(FileRead{File: 0, Value: 1}, "10.0.0.7:80 17")
	step(FileRead{File: 1, Value: 1}, "")
	step(CheckDone{Check: 0, OK: true}, "")
	step(FileRead{File: 1, Value: 0}, "10.0.0.7:80 7")
	step(CheckDone{Check: 0, Exit: 42}, "10.0.0.7:80 37")
	next := oneServer(t, "", strings.Replace(server, "-3", "-2", 1))
	next.VirtualServers[0].RealServers[0].Weight = 4
	for _, c := range next.VirtualServers[0].RealServers[0].Checks {
		c.ServerWeight = 4
	}
	actions, err := m.n.Reload(m.now, next, hostLinks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.carry(actions); m.pool() != "10.0.0.7:80 38" { // 40 by the script, 1 times -2
		t.Errorf("after the reload: %s", m.pool())
	}
}

// TestFilesBeforeTheStart: what they say then is what the pool begins with.
func TestFilesBeforeTheStart(t *testing.T) {
	cfg := oneServer(t, "", "FILE_CHECK {\n track_file drain\n }\n FILE_CHECK {\n track_file fault\n }\n")
	for fault, want := range []string{"10.0.0.7:80 12", ""} {
		n, err := New(cfg, hostLinks(), 1)
		if err != nil {
			t.Fatal(err)
		}
		m := &machine{n: n, held: map[string]int{}}
		m.step(FileRead{File: 0, Value: 2})
		m.step(FileRead{File: 1, Value: fault})
		m.step(Start{})
		if m.pool() != want || len(m.said) > 1 {
			t.Errorf("fault %d: pool %q, told %q", fault, m.pool(), m.said)
		}
		for i, f := range n.Files() {
			if f == nil {
				t.Errorf("file %d is not watched", i)
			}
		}
	}
}

// TestChecksOverAReload: a check that asks the same stays as it is, whatever its times.
func TestChecksOverAReload(t *testing.T) {
	server := "HTTP_GET {\n retry 3\n url {\n path /a\n }\n url {\n path /b\n }\n }\n"
	m := newMachine(t, oneServer(t, "", server))
	m.step(CheckDone{Check: 0, OK: true})
	m.step(CheckDone{Check: 0})
	m.reload(t, oneServer(t, "", strings.Replace(server, "retry 3", "retry 2\ndelay_loop 7", 1)))
	if c := m.n.checks[0]; c.url != 1 || c.failures != 1 || !c.ran {
		t.Errorf("forgotten: %+v", c.trial)
	}
	m.reload(t, oneServer(t, "", strings.Replace(server, "/b", "/c", 1)))
	if c := m.n.checks[0]; c.url != 0 || c.failures != 0 || c.ran || !c.up {
		t.Errorf("another check is not new: %+v", c.trial)
	}
}

// TestFailuresAreTold: with log_all_failures each, else those that decide.
func TestFailuresAreTold(t *testing.T) {
	for keyword, want := range map[string]string{"": "up down", "log_all_failures\n": "up failed1 failed2 down"} {
		m := newMachine(t, oneServer(t, "", "TCP_CHECK {\n retry 2\n"+keyword+" }\n"))
		var told []string
		for i := range 5 {
			m.step(CheckDone{Check: 0, OK: i == 0, Reason: "test"})
			for _, a := range m.actions {
				switch a := a.(type) {
				case CheckChanged:
					told = append(told, map[bool]string{true: "up", false: "down"}[a.Up])
				case CheckFailed:
					told = append(told, fmt.Sprint("failed", a.Try))
				}
			}
		}
		if got := strings.Join(told, " "); got != want {
			t.Errorf("%q: %s", keyword, got)
		}
	}
}

// TestServerMails: subject and body of each kind, as keepalived 2.2.7 was seen to write
// them, the quorum first; who gets none.
func TestServerMails(t *testing.T) {
	global := "global_defs {\n notification_email {\n  a@b\n }\n smtp_server 192.0.2.1\n%s}\n"
	mails := func(option, service, server string, steps ...Event) string {
		text := fmt.Sprintf(global, option) + "virtual_server 10.0.0.1 80 {\n lb_algo rr\n lb_kind DR\n protocol TCP\n" + service +
			" real_server 10.0.0.7 80 {\n  weight 10\n" + server + " }\n}\n"
		n, err := New(parse(t, text), hostLinks(), 1)
		if err != nil {
			t.Fatal(err)
		}
		m := &machine{n: n, held: map[string]int{}}
		var list []string
		for _, ev := range append([]Event{Start{}}, steps...) {
			m.step(ev)
			for _, a := range m.actions {
				if mail, ok := a.(Mail); ok {
					s := strings.NewReplacer("Realserver [10.0.0.7]:tcp:80 of virtual server [10.0.0.1]:tcp:80 - ", "RS ", "Virtualserver [10.0.0.1]:tcp:80 - ", "VS ").Replace(mail.Subject)
					list = append(list, s+": "+mail.Body)
				}
			}
		}
		return strings.Join(list, "; ")
	}
	down, up := CheckDone{Reason: "timed out after 1s"}, CheckDone{OK: true}
	const tcp, two = "TCP_CHECK {\n }\n", "TCP_CHECK {\n }\n DNS_CHECK {\n }\n"
	for _, tt := range []struct{ name, got, want string }{
		{"tcp", mails("", "", tcp, down, up), "RS DOWN: TCP CHECK failed on service; RS UP: TCP CHECK succeed on service"},
		{"udp", mails("", "", "UDP_CHECK {\n }\n", down), "RS DOWN: UDP CHECK failed on service"},
		{"ping", mails("", "", "PING_CHECK {\n }\n", down), "RS DOWN: ICMP CHECK failed on service"},
		{"http", mails("", "", "HTTP_GET {\n url {\n path /\n }\n }\n", down, up, up), "RS DOWN: CHECK failed on service : HTTP/SSL request failed; RS UP: CHECK succeed on service"},
		{"misc", mails("", "", "MISC_CHECK {\n misc_path /bin/true\n }\n", CheckDone{Exit: 1}, up, down), "RS DOWN: MISC CHECK failed on service; RS UP: MISC CHECK succeeded on service; RS DOWN: MISC CHECK timed out on service"},
		{"smtp", mails("", "", "SMTP_CHECK {\n retry 0\n }\n", down, up), "RS DOWN: CHECK failed on service : timed out after 1s; RS UP: CHECK succeed on service"},
		{"dns", mails("", "", "DNS_CHECK {\n }\n", down, up), "RS DOWN: DNS_CHECK: failed on service; RS UP: DNS_CHECK: succeed on service"},
		{"quorum", mails("", "smtp_alert\n", tcp, down, up), "VS UP: Starting with quorum up; VS DOWN: Lost quorum 1+0=1 <= 0; RS DOWN: TCP CHECK failed on service; VS UP: Gained quorum 1+0=1 <= 10; RS UP: TCP CHECK succeed on service"},
		{"alpha", mails("", "alpha\n", tcp, down, down, up), "RS DOWN: TCP CHECK failed on service; RS UP: TCP CHECK succeed on service"},
		{"each check", mails("", "", two, down, CheckDone{Check: 1}, up), "RS DOWN: TCP CHECK failed on service; RS DOWN: DNS_CHECK: failed on service; RS DOWN: TCP CHECK succeed on service"},
		{"the server alone", mails("no_checker_emails\n", "", two, down, CheckDone{Check: 1}, up), "RS DOWN: TCP CHECK failed on service"},
		{"switched off", mails("smtp_alert off\n", "", tcp, down), ""},
		{"of checks", mails("smtp_alert off\nsmtp_alert_checker on\n", "", tcp, down), "VS UP: Starting with quorum up; VS DOWN: Lost quorum 1+0=1 <= 0; RS DOWN: TCP CHECK failed on service"},
		{"of the server", mails("", "", "smtp_alert off\n"+tcp, down), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, tt.got, tt.want)
		}
	}
}

// TestChecked: what operators are shown of a check.
func TestChecked(t *testing.T) {
	m := newMachine(t, oneServer(t, "", "TCP_CHECK {\n retry 2\n }\n"))
	view := func() (ServiceView, CheckView) {
		list, next := m.n.ServicesFrom(0, 100, nil)
		if len(list) != 1 || next != -1 {
			t.Fatalf("%d services, then %d", len(list), next)
		}
		return list[0], list[0].Servers[0].Checks[0]
	}
	if s, c := view(); !c.Up || c.Known || c.Last != (Tried{}) || c.Left != 0 || c.Next != time.Second || s.Servers[0].Addr.String() != "10.0.0.7:80" {
		t.Errorf("at the start: %+v", c)
	}
	m.step(CheckDone{Check: 0, OK: true})
	m.n.checks[0].began, m.now = time.Second, 1300*time.Millisecond
	m.step(CheckDone{Check: 0, Reason: "connection refused"})
	want := Tried{At: 1300 * time.Millisecond, Took: 300 * time.Millisecond, Reason: "connection refused"}
	if s, c := view(); !c.Up || !c.Known || c.Failures != 1 || c.Left != 1 || c.Next != 2300*time.Millisecond || c.Last != want || s.Weight != 10 || s.Lost != 1 || s.Gain != 1 {
		t.Errorf("after a failure: %+v of %+v", c, s)
	}
	m.step(CheckDone{Check: 0})
	m.step(CheckDone{Check: 0})
	if s, c := view(); c.Up || c.Left != 0 || c.Failures != 0 || s.Weight != 0 || s.Quorum {
		t.Errorf("down: %+v of %+v", c, s)
	}
}
