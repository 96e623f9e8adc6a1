package node

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// shop is a service on port with one server and these lines in it, and in front of it.
func shop(port int, service, server string) string {
	return fmt.Sprintf("virtual_server 10.0.0.1 %d {\n lb_kind DR\n protocol TCP\n delay_loop 10\n delay_before_retry 2\n warmup 0\n%s real_server 10.0.0.7 %d {\n%s }\n}\n", port, service, port, server)
}

func second(n int) time.Duration { return time.Duration(n) * time.Second }

const askTwice = "TCP_CHECK {\n retry 2\n connect_port 80\n }\n"

// tries lets time pass while every try ends at once as good says, and counts them.
func (m *machine) tries(t *testing.T, until time.Duration, good bool) (list []string) {
	t.Helper()
	for {
		at, ok := m.n.Deadline()
		if !ok || at > until {
			m.now = until
			return list
		}
		m.now = at
		for _, a := range m.n.Step(m.now, Tick{}, nil) {
			if c, ok := a.(RunCheck); ok {
				list = append(list, fmt.Sprintf("%v:%d", m.now, c.Check))
				m.step(CheckDone{Check: c.Check, OK: good})
			}
		}
	}
}

func (m *machine) alive() string {
	var b strings.Builder
	for i := range m.n.services {
		fmt.Fprintf(&b, "%t ", m.n.services[i].servers[0].alive)
	}
	return strings.TrimSpace(b.String())
}

// TestEqualChecksAreOne: a server of several services is asked once a period, and every
// service is told.
func TestEqualChecksAreOne(t *testing.T) {
	m := newMachine(t, parse(t, shop(80, "", askTwice)+shop(81, "", askTwice)+shop(82, "", askTwice)))
	if got := fmt.Sprint(m.tries(t, 25*time.Second, true)); got != "[1s:0 11s:0 21s:0]" {
		t.Errorf("tries %s", got)
	}
	if got := fmt.Sprint(m.tries(t, 34*time.Second, false)); got != "[31s:0 33s:0]" || m.alive() != "true true true" {
		t.Errorf("retries %s, alive %s", got, m.alive())
	}
	if got := fmt.Sprint(m.tries(t, 36*time.Second, false)); got != "[35s:0]" || m.alive() != "false false false" {
		t.Errorf("retries %s, alive %s", got, m.alive())
	}
	if got := strings.Join(m.said[len(m.said)-6:], "; "); strings.Count(got, "DOWN") != 6 {
		t.Errorf("told %s", got)
	}
	if c := m.n.checkView(&m.n.checks[2]); c.Shared != 2 || c.Last.At != 35*time.Second || c.Next != 45*time.Second {
		t.Errorf("the third: %+v", c)
	}
}

// TestOtherChecksAreOther: another address, another option, or a second one in one service.
func TestOtherChecksAreOther(t *testing.T) {
	ping := "PING_CHECK {\n }\n"
	web := "HTTP_GET {\n connect_port 80\n url {\n path /\n }\n }\n"
	for _, tt := range []struct {
		name, text string
		want       int
	}{
		{"equal", shop(80, "", askTwice) + shop(81, "", askTwice), 1},
		{"another port", shop(80, "", "TCP_CHECK {\n }\n") + shop(81, "", "TCP_CHECK {\n }\n"), 2},
		{"the same port, once written", shop(80, "", "TCP_CHECK {\n }\n") + shop(81, "", "TCP_CHECK {\n connect_port 80\n }\n"), 1},
		{"no port", shop(80, "", ping) + shop(81, "", ping), 1},
		{"another retry", shop(80, "", askTwice) + shop(81, "", strings.Replace(askTwice, "2", "3", 1)), 2},
		{"another period", shop(80, "", askTwice) + shop(81, "delay_loop 11\n", askTwice), 2},
		{"a pessimist", shop(80, "", askTwice) + shop(81, "alpha\n", askTwice), 2},
		{"another server at the same address to ask", shop(80, "", askTwice) + strings.ReplaceAll(shop(81, "", strings.Replace(askTwice, "}", "connect_ip 10.0.0.7\n}", 1)), "real_server 10.0.0.7", "real_server 10.0.0.8"), 2},
		{"another kind", shop(80, "", askTwice) + shop(81, "", strings.Replace(askTwice, "TCP", "SMTP", 1)), 2},
		{"another virtual host of the service", shop(80, "virtualhost a\n", web) + shop(81, "virtualhost b\n", web), 2},
		{"the same virtual host of the service", shop(80, "virtualhost a\n", web) + shop(81, "virtualhost a\n", web), 1},
		{"twice in one service", shop(80, "", askTwice+askTwice) + shop(81, "", askTwice), 2},
		{"twice in both services", shop(80, "", askTwice+askTwice) + shop(81, "", askTwice+askTwice), 2},
		{"a script", shop(80, "", "MISC_CHECK {\n misc_path \"/bin/x a\"\n }\n") + shop(81, "", "MISC_CHECK {\n misc_path \"/bin/x a\"\n }\n"), 1},
		{"a script and other words", shop(80, "", "MISC_CHECK {\n misc_path \"/bin/x a\"\n }\n") + shop(81, "", "MISC_CHECK {\n misc_path \"/bin/x b\"\n }\n"), 2},
	} {
		if list := newMachine(t, parse(t, tt.text)).tries(t, 5*time.Second, true); len(list) != tt.want {
			t.Errorf("%s: tries %v", tt.name, list)
		}
	}
}

// TestEqualChecksOverAReload: a service that comes to the others, leaves them, or comes back
// decides by its own past.
func TestEqualChecksOverAReload(t *testing.T) {
	one, two := shop(80, "", askTwice), shop(81, "", askTwice)
	apart := shop(81, "", strings.Replace(askTwice, "retry 2", "retry 1", 1))
	m := newMachine(t, parse(t, one))
	m.tries(t, 12*time.Second, true)
	m.tries(t, 22*time.Second, false) // the first failure of three, next at 23s
	m.reload(t, parse(t, one+two))
	// The new one begins: its first failure decides; the old one has a retry left.
	if got := fmt.Sprint(m.tries(t, 24*time.Second, false)); got != "[23s:0 23s:1]" || m.alive() != "true false" {
		t.Errorf("joined: tries %s, alive %s", got, m.alive())
	}
	// The old one gives up, and both are down; the new one has a try of its own until then.
	if got := fmt.Sprint(m.tries(t, 36*time.Second, false)); got != "[25s:0 33s:1]" || m.alive() != "false false" {
		t.Errorf("down: tries %s, alive %s", got, m.alive())
	}
	// From here on they are one again.
	if got := fmt.Sprint(m.tries(t, 54*time.Second, true)); got != "[43s:0 53s:0]" || m.alive() != "true true" {
		t.Errorf("up: tries %s, alive %s", got, m.alive())
	}
	m.tries(t, 64*time.Second, false) // one failure each
	m.reload(t, parse(t, one+apart))  // and now two tries
	if got := m.tries(t, 65*time.Second, false); len(got) != 2 || m.alive() != "true false" {
		t.Errorf("split: tries %v, alive %s", got, m.alive())
	}
	if got := m.tries(t, 67*time.Second, false); len(got) != 1 || m.alive() != "false false" {
		t.Errorf("split, the last: tries %v, alive %s", got, m.alive())
	}
	m.reload(t, parse(t, one))
	if got := m.tries(t, 90*time.Second, true); len(got) != 2 || m.alive() != "true" {
		t.Errorf("alone: tries %v, alive %s", got, m.alive())
	}
}

// TestEqualChecksAndHASuspend: who rests is told nothing, and the other one goes on.
func TestEqualChecksAndHASuspend(t *testing.T) {
	elsewhere := strings.Replace(shop(80, "ha_suspend\n", askTwice), "10.0.0.1", "10.0.0.99", 1)
	m := newMachine(t, parse(t, elsewhere+shop(81, "", askTwice)))
	if got := fmt.Sprint(m.tries(t, 12*time.Second, false)); got != "[1s:1 11s:1]" || m.alive() != "true false" {
		t.Errorf("tries %s, alive %s", got, m.alive())
	}
	if v := m.n.checkView(&m.n.checks[0]); !v.Suspended || v.Last.At != 0 {
		t.Errorf("%+v", v)
	}
}
