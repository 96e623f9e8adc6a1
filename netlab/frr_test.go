package netlab

import (
	"fmt"
	"strings"
	"testing"
)

func TestVirtualRoutersOfFRR(t *testing.T) {
	const wrong = ": must be vrrp VRID ip|ipv6 ADDRESS or another setting, below interface NAME"
	const none = "no line is vrrp VRID ip|ipv6 ADDRESS, below interface NAME"
	for _, tt := range []struct{ conf, want string }{
		{"interface eth0\n vrrp 51 version 3\n vrrp 51 priority 150\n vrrp 51 advertisement-interval 200\n vrrp 51 ip 10.0.0.100\n vrrp 51 ip 10.0.0.101\n" +
			" vrrp 7 ip 10.0.0.7\n no vrrp 7 preempt\ninterface eth1\n vrrp 51 ip 10.1.0.1\n vrrp 9 version 2\n",
			"eth0 51 priority 150 every 200ms preempt true [10.0.0.100 10.0.0.101]; eth0 7 priority 100 every 1s preempt false [10.0.0.7]; eth1 51 priority 100 every 1s preempt true [10.1.0.1]; "},
		{"interface eth0\n vrrp 51 version 3\n", none},
		{"!\nbfd\n peer 10.0.0.2\n", ""},
		{"interface eth0\n no vrrp 51 ip 10.0.0.1\n", none},
		{"vrrp 51 ip 10.0.0.100\n", "line 1: vrrp 51 ip 10.0.0.100" + wrong},
		{"interface eth0\n vrrp 256 ip 10.0.0.100\n", "line 2: vrrp 256 ip 10.0.0.100" + wrong},
		{"interface eth0\n vrrp 51 ip 10.0.0\n", "line 2: vrrp 51 ip 10.0.0" + wrong},
		{"interface eth0\n vrrp 51 ipv6 fe80::1\n vrrp 51 ip 10.0.0.100\n vrrp 51 ipv6 2001:db8::1\n vrrp 7 priority 9\n vrrp 7 ipv6 fe80::7\n",
			"eth0 51 priority 100 every 1s preempt true [10.0.0.100]; eth0 51v6 priority 100 every 1s preempt true [fe80::1 2001:db8::1]; eth0 7v6 priority 9 every 1s preempt true [fe80::7]; "},
		{"interface eth0\n vrrp 51 ip fe80::1\n", "line 2: vrrp 51 ip fe80::1" + wrong},
		{"interface eth0\n vrrp 51 ipv6 10.0.0.100\n", "line 2: vrrp 51 ipv6 10.0.0.100" + wrong},
		{"interface eth0\n vrrp 51 priority high\n", "line 2: vrrp 51 priority high" + wrong},
	} {
		list, err := parseFRR([]byte(tt.conf))
		got := ""
		for _, r := range list {
			got += fmt.Sprintf("%s %s priority %d every %v preempt %v %v; ", r.Interface, r.Instance, r.Priority, r.Interval, !r.NoPreempt, r.VIPs)
		}
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q\ngot  %s\nwant %s", tt.conf, got, tt.want)
		}
	}
}

func TestStatesOfFRR(t *testing.T) {
	const stamp = "2026/11/21 10:49:08 VRRP: [W23ZH-NY264] [CORE] "
	for line, want := range map[string]string{
		stamp + "[VRID 51] [IPv4] Initialize -> Backup":  "51 BACKUP",
		stamp + "[VRID 51] [IPv4] Backup -> Master":      "51 MASTER",
		stamp + "[VRID 7] [IPv4] Master -> Initialize":   "",
		stamp + "[VRID 51] [IPv6] Backup -> Master":      "51v6 MASTER",
		stamp + "[VRID 51] [IPv4] 'Startup' event":       "",
		"(VI_1) Entering MASTER STATE, says another one": "",
	} {
		got := ""
		if m := frrState(line); m != nil {
			got = strings.Join(m[1:], " ")
		}
		if got != want {
			t.Errorf("%s\ngot  %q\nwant %q", line, got, want)
		}
	}
}

func TestRootIsInTheGroupThatFRRWants(t *testing.T) {
	const before = "root:x:0:\nfrrvty:x:106:frr\nfrr:x:107:\n"
	if got, want := string(inVTYGroup([]byte(before))), "root:x:0:\nfrrvty:x:106:root\nfrr:x:107:\n"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestFRRNeedsNamespaces(t *testing.T) {
	const text = "lan lan\nnode n1 KIND lan:eth0 10.0.0.1/24\n-- n1.conf --\ninterface eth0\n vrrp 51 ip 10.0.0.100\n"
	for kind, want := range map[string]bool{"frr": true, "keepalived": false} {
		s, err := Parse("s", []byte(strings.Replace(text, "KIND", kind, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if s.Needs("namespaces") != want {
			t.Errorf("%s: needs namespaces is %v", kind, !want)
		}
	}
}
