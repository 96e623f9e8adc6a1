package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// servicesOf writes what each virtual server of a text is of, or why it is not served, and
// the messages but the notices.
func servicesOf(text string) (services, messages []string) {
	cfg, found := Parse("a.conf", []byte(text), Options{})
	for _, vs := range cfg.VirtualServers {
		words := []string{vs.String() + ":"}
		for _, e := range vs.Endpoints() {
			words = append(words, e.String())
			if e.Mark != 0 && e.Addr.Addr().Is6() {
				words[len(words)-1] += "/6"
			}
		}
		if vs.Disabled != "" {
			words = []string{vs.String() + ": " + vs.Disabled}
		}
		words = append(words, "<-")
		for _, rs := range vs.RealServers {
			words = append(words, rs.Addr.String())
		}
		services = append(services, strings.Join(words, " "))
	}
	for _, m := range found {
		if m.Level != Notice {
			messages = append(messages, fmt.Sprintf("%d:%d %s", m.Pos.Line, m.Pos.Column, m.Text))
		}
	}
	return services, messages
}

// TestEndpoints has the head of a service, lines of global_defs and of its group, and its
// real servers: what it is of then, and the warnings.
func TestEndpoints(t *testing.T) {
	many := "group G: the group comes to more than 4096 addresses and ports; give their packets a mark with packet_mark, and serve that"
	for _, tt := range []struct {
		name, global, group, head, lines, servers string
		want                                      string
		messages                                  []string
	}{
		{name: "one address", head: "10.0.0.1 80", lines: "protocol TCP", servers: "10.0.0.5 80", want: "10.0.0.1:80: 10.0.0.1:80 <- 10.0.0.5:80"},
		{
			name: "addresses and ranges", head: "group G", lines: "protocol TCP", servers: "10.0.0.5 80,10.0.0.6 80", group: "10.0.0.1 80\n10.0.0.254-10.0.1.1 443\n10.0.2.8-9 81\n10.0.3.4/31 82",
			want: "group G: 10.0.0.1:80 10.0.0.254:443 10.0.0.255:443 10.0.1.0:443 10.0.1.1:443 10.0.2.8:81 10.0.2.9:81 10.0.3.4:82 10.0.3.5:82 <- 10.0.0.5:80 10.0.0.6:80",
			messages: []string{
				"14:1 real_server 10.0.0.5:80: DR keeps the port of the group's entry; the port is that of checks only",
				"16:1 real_server 10.0.0.6:80: DR keeps the port of the group's entry; the port is that of checks only",
			},
		},
		{
			name: "ports", head: "group G", lines: "protocol TCP\nlvs_method NAT", servers: "10.0.0.5", group: "@ringkeep 10.0.0.1-2 80-82",
			want: "group G: 10.0.0.1:80 10.0.0.1:81 10.0.0.1:82 10.0.0.2:80 10.0.0.2:81 10.0.0.2:82 <- 10.0.0.5:0",
		},
		{
			name: "ports where keepalived sees them", head: "group G", lines: "protocol TCP\nlvs_method NAT", servers: "10.0.0.5", group: "10.0.0.1 80-81",
			want:     "group G: 10.0.0.1:80 10.0.0.1:81 <- 10.0.0.5:0",
			messages: []string{"5:10 a range of ports is nothing that keepalived knows: put @ringkeep in front of the line, which it skips then"},
		},
		{name: "IPv6", head: "group G", lines: "protocol TCP", servers: "2001:db8:1::5", group: "2001:db8::1-3 80", want: "group G: [2001:db8::1]:80 [2001:db8::2]:80 [2001:db8::3]:80 <- [2001:db8:1::5]:0"},
		{
			name: "both families", head: "group G", lines: "protocol TCP", servers: "2001:db8:1::5,10.0.0.5", group: "2001:db8::1 80\n10.0.0.1 80",
			want: "group G: [2001:db8::1]:80 10.0.0.1:80 <- [2001:db8:1::5]:0 10.0.0.5:0",
		},
		{
			name: "the family of no entry", head: "group G", lines: "protocol TCP", servers: "2001:db8:1::5,10.0.0.5", group: "10.0.0.1 80",
			want: "group G: 10.0.0.1:80 <- 10.0.0.5:0", messages: []string{"14:1 real_server [2001:db8:1::5]:0: is of another family than the service, which only TUN can bridge; it is ignored"},
		},
		{name: "a tunnel crosses families", head: "group G", lines: "protocol TCP\nlvs_method TUN", servers: "2001:db8:1::5", group: "10.0.0.1 80", want: "group G: 10.0.0.1:80 <- [2001:db8:1::5]:0"},
		{
			name: "every port", head: "group G", lines: "protocol TCP", servers: "10.0.0.5", group: "10.0.0.1", want: "group G: 10.0.0.1:0 <- 10.0.0.5:0",
			messages: []string{"10:1 virtual_server group G: a service of every port needs persistence_timeout; it becomes 360 seconds"},
		},
		{name: "too many", head: "group G", lines: "protocol TCP", servers: "10.0.0.5", group: "10.0.0.0/19 80", want: many + " <- 10.0.0.5:0", messages: []string{"10:1 virtual_server " + many + ": the service is not served"}},
		{name: "a mark", global: "@ringkeep packet_mark 7 tcp", head: "fwmark 7", servers: "10.0.0.5", want: "fwmark 7: fwmark 7 <- 10.0.0.5:0"},
		{name: "a mark of IPv6 servers", global: "@ringkeep packet_mark 7 tcp", head: "fwmark 7", servers: "2001:db8::5", want: "fwmark 7: fwmark 7/6 <- [2001:db8::5]:0"},
		{name: "tunnels do not tell the family", global: "@ringkeep packet_mark 7 tcp", head: "fwmark 7", lines: "lvs_method TUN", servers: "2001:db8::5", want: "fwmark 7: fwmark 7 <- [2001:db8::5]:0"},
		{name: "ip_family does", global: "@ringkeep packet_mark 7 tcp", head: "fwmark 7", lines: "lvs_method TUN\nip_family inet6", servers: "10.0.0.5", want: "fwmark 7: fwmark 7/6 <- 10.0.0.5:0"},
		{name: "so does the granularity", global: "@ringkeep packet_mark 7 tcp", head: "fwmark 7", lines: "lvs_method TUN\npersistence_granularity 64", servers: "10.0.0.5", want: "fwmark 7: fwmark 7/6 <- 10.0.0.5:0"},
		{
			name: "ip_family of an address", head: "10.0.0.1 80", lines: "protocol TCP\nip_family inet6", servers: "10.0.0.5 80", want: "10.0.0.1:80: 10.0.0.1:80 <- 10.0.0.5:80",
			messages: []string{"13:11 virtual_server 10.0.0.1:80: ip_family is for marks; it is ignored"},
		},
		{
			name: "a sorry server of another family", head: "10.0.0.1 80", lines: "protocol TCP\nsorry_server 2001:db8::9 80", servers: "10.0.0.5 80", want: "10.0.0.1:80: 10.0.0.1:80 <- 10.0.0.5:80",
			messages: []string{"13:1 sorry_server [2001:db8::9]:80: is of another family than the service, which only TUN can bridge; it is ignored"},
		},
		{name: "NAT to a port", global: "@ringkeep packet_mark 7 tcp", head: "fwmark 7", lines: "lvs_method NAT", servers: "10.0.0.5 8080", want: "fwmark 7: fwmark 7 <- 10.0.0.5:8080"},
		{
			name: "marks in a group", global: "@ringkeep packet_mark 7 tcp", head: "group G", lines: "protocol TCP", servers: "10.0.0.5,2001:db8::5", group: "fwmark 7\nfwmark 7 inet6\nfwmark 8",
			want:     "group G: fwmark 7 fwmark 7/6 fwmark 8 <- 10.0.0.5:0 [2001:db8::5]:0",
			messages: []string{"10:1 virtual_server group G: no packet gets mark 8, since those of nftables are not seen here: say in global_defs which do, as in @ringkeep packet_mark 8 ip daddr 192.0.2.0/24 tcp dport 80,443"},
		},
		{
			name: "a mark that no packet gets", head: "fwmark 7", servers: "10.0.0.5", want: "fwmark 7: fwmark 7 <- 10.0.0.5:0",
			messages: []string{"10:1 virtual_server fwmark 7: no packet gets mark 7, since those of nftables are not seen here: say in global_defs which do, as in @ringkeep packet_mark 7 ip daddr 192.0.2.0/24 tcp dport 80,443"},
		},
		{
			name: "mark 0", head: "fwmark 0", servers: "10.0.0.5", want: "fwmark 0: mark 0 is that of packets without a mark <- 10.0.0.5:0",
			messages: []string{"10:1 virtual_server fwmark 0: mark 0 is that of packets without a mark: the service is not served"},
		},
		{
			name: "one server at two ports", head: "group G", lines: "protocol TCP", servers: "10.0.0.5 80,10.0.0.5 81", group: "10.0.0.1 80", want: "group G: 10.0.0.1:80 <- 10.0.0.5:80",
			messages: []string{
				"14:1 real_server 10.0.0.5:80: DR keeps the port of the group's entry; the port is that of checks only",
				"16:1 real_server 10.0.0.5:81: DR keeps the port of the group's entry; the port is that of checks only",
				"16:1 real_server 10.0.0.5:81 stands at a.conf:14:1 already; this one is ignored",
			},
		},
		{name: "no such group", head: "group H", lines: "protocol TCP", servers: "10.0.0.5", messages: []string{"10:1 virtual_server group H: there is no virtual_server_group of that name; it is ignored"}},
		{name: "two ports by NAT", head: "group G", lines: "protocol TCP\nlvs_method NAT", servers: "10.0.0.5 80,10.0.0.5 81", group: "10.0.0.1 80", want: "group G: 10.0.0.1:80 <- 10.0.0.5:80 10.0.0.5:81"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			group := tt.group
			if group == "" {
				group = "192.0.2.250 1"
			}
			lines := tt.lines
			if !strings.Contains(lines, "lvs_method") {
				lines += "\nlvs_method DR"
			}
			text := fmt.Sprintf("global_defs {\n%s\n}\nvirtual_server_group G {\n%s\n}\n", tt.global, group)
			text += strings.Repeat("\n", max(0, 9-strings.Count(text, "\n"))) + "virtual_server " + tt.head + " {\nlvs_sched rr\n" + lines + "\n"
			for server := range strings.SplitSeq(tt.servers, ",") {
				text += "real_server " + server + " {\n}\n"
			}
			services, messages := servicesOf(text + "}\n")
			if got := strings.Join(services, "\n"); got != tt.want {
				t.Errorf("got  %q\nwant %q", services, tt.want)
			}
			if !slices.Equal(messages, tt.messages) {
				t.Errorf("messages\n%s\nwant\n%s\nof\n%s", strings.Join(messages, "\n"), strings.Join(tt.messages, "\n"), text)
			}
		})
	}
}

// TestEndpointsOfSeveral: what two virtual servers are of goes to the first, by protocol, or if
// both are the kernel's to both; marks have none.
func TestEndpointsOfSeveral(t *testing.T) {
	const group = "virtual_server_group G {\n10.0.0.1 80\n10.0.0.2 80\nfwmark 7\n}\nglobal_defs {\n@ringkeep packet_mark 7 tcp\n}\n"
	service := func(head, protocol string) string {
		return "virtual_server " + head + " {\nlvs_sched rr\nlvs_method DR\n" + protocol + "\nreal_server 10.0.0.5 {\n}\n}\n"
	}
	for _, tt := range []struct {
		services string
		want     []string
		messages int
	}{
		{service("10.0.0.1 80", "protocol TCP") + service("group G", "protocol TCP"), []string{"10.0.0.1:80: 10.0.0.1:80 <- 10.0.0.5:80", "group G: 10.0.0.2:80 fwmark 7 <- 10.0.0.5:0"}, 1},
		{service("10.0.0.1 80", "protocol UDP") + service("group G", "protocol TCP"), []string{"10.0.0.1:80: 10.0.0.1:80 <- 10.0.0.5:80", "group G: 10.0.0.1:80 10.0.0.2:80 fwmark 7 <- 10.0.0.5:0"}, 0},
		{service("group G", "protocol TCP") + service("group G", "protocol UDP"), []string{"group G: 10.0.0.1:80 10.0.0.2:80 fwmark 7 <- 10.0.0.5:0", "group G: 10.0.0.1:80 10.0.0.2:80 <- 10.0.0.5:0"}, 1},
		{service("group G", "protocol TCP") + service("fwmark 7", ""), []string{"group G: 10.0.0.1:80 10.0.0.2:80 fwmark 7 <- 10.0.0.5:0", "fwmark 7: nothing is left of it <- 10.0.0.5:0"}, 2},
		{service("10.0.0.1 80", "protocol TCP\n@ringkeep dataplane ipvs") + service("group G", "protocol TCP\n@ringkeep dataplane ipvs"), []string{"10.0.0.1:80: 10.0.0.1:80 <- 10.0.0.5:80", "group G: 10.0.0.1:80 10.0.0.2:80 fwmark 7 <- 10.0.0.5:0"}, 1},
		{service("10.0.0.1 80", "protocol TCP\n@ringkeep dataplane ipvs") + service("group G", "protocol TCP"), []string{"10.0.0.1:80: 10.0.0.1:80 <- 10.0.0.5:80", "group G: 10.0.0.2:80 fwmark 7 <- 10.0.0.5:0"}, 1},
		{service("fwmark 7", "ip_family inet") + service("fwmark 7", "ip_family inet6\nlvs_method TUN"), []string{"fwmark 7: fwmark 7 <- 10.0.0.5:0", "fwmark 7: fwmark 7/6 <- 10.0.0.5:0"}, 0},
	} {
		services, messages := servicesOf(group + tt.services)
		if !slices.Equal(services, tt.want) || len(messages) != tt.messages {
			t.Errorf("%s\ngot  %q\nwant %q\n%s", tt.services, services, tt.want, strings.Join(messages, "\n"))
		}
	}
}

// TestChecksOfPortlessServers: a server of a mark or a group has no port of its own, its
// checks go to what is written.
func TestChecksOfPortlessServers(t *testing.T) {
	for _, tt := range []struct{ head, server, check, want string }{
		{"fwmark 7", "10.0.0.5 8080", "", "10.0.0.5:8080"},
		{"fwmark 7", "10.0.0.5 8080", "connect_port 81", "10.0.0.5:81"},
		{"fwmark 7", "10.0.0.5", "", "TCP_CHECK of 10.0.0.5: has no port to go to, so it fails; write connect_port"},
		{"group G", "10.0.0.5 8080", "", "10.0.0.5:8080"},
	} {
		text := "virtual_server_group G {\n10.0.0.1 80\n}\nvirtual_server " + tt.head + " {\nlvs_method DR\nprotocol TCP\nreal_server " + tt.server + " {\nTCP_CHECK {\n" + tt.check + "\n}\n}\n}\n"
		cfg, found := Parse("a.conf", []byte(text), Options{})
		got := cfg.VirtualServers[0].RealServers[0].Checks[0].Connect.String()
		if got != tt.want && !slices.ContainsFunc(found, func(m Message) bool { return m.Text == tt.want }) {
			t.Errorf("%+v: %s, %v", tt, got, found)
		}
		printsTheSame(t, tt.server, []byte(text))
	}
}

// TestMethods has what stands behind lvs_method, and how it is written again, or what is said
// of it. keepalived 2.2.7 complains of the same.
func TestMethods(t *testing.T) {
	for _, tt := range []struct{ line, want, message string }{
		{"DR", "DR", ""},
		{"TUN", "TUN type ipip", ""},
		{"TUN type gue port 6080 remcsum", "TUN type gue port 6080 remcsum", ""},
		{"TUN type gre csum", "TUN type gre csum", ""},
		{"TUN type gre remcsum", "TUN type gre", "lvs_method: gre has no remcsum; it is ignored"},
		{"TUN csum", "TUN type ipip", "lvs_method: ipip has no csum; it is ignored"},
		{"TUN type gre port 7", "TUN type gre", "lvs_method: gre has no port; it is ignored"},
		{"NAT csum", "NAT", "lvs_method: NAT has no csum; it is ignored"},
		{"TUN type gue", "NAT", "lvs_method: a gue tunnel needs a port; the line is ignored"},
	} {
		cfg, found := Parse("a.conf", []byte("virtual_server 10.0.0.1 80 {\nlvs_sched rr\nprotocol TCP\nlvs_method "+tt.line+"\nreal_server 10.0.0.5 80 {\n}\n}\n"), Options{})
		said := ""
		for _, m := range found {
			if m.Level != Notice {
				said += m.Text
			}
		}
		if got := strings.Join(cfg.VirtualServers[0].Method.words(), " "); got != tt.want || said != tt.message {
			t.Errorf("%s: got %s, %s", tt.line, got, said)
		}
	}
}

// TestSorryServerFirst: what stands above sorry_server is not of it, as in keepalived 2.2.7.
func TestSorryServerFirst(t *testing.T) {
	for _, above := range []bool{false, true} {
		server, lines := "sorry_server 10.0.0.9 80\n", "sorry_server_inhibit\nsorry_server_lvs_method TUN\n"
		if above {
			server, lines = lines, server
		}
		text := "virtual_server 10.0.0.1 80 {\nlvs_sched rr\nlvs_method DR\nprotocol TCP\n" + server + lines + "real_server 10.0.0.5 80 {\n}\n}\n"
		_, messages := servicesOf(text)
		cfg, _ := Parse("a.conf", []byte(text), Options{})
		vs := cfg.VirtualServers[0]
		if got := vs.SorryServer.Method.Forwarding == "DR" && !vs.SorryServerInhibit && len(messages) == 2; got != above {
			t.Errorf("above %v: %+v, %q", above, vs.SorryServer, messages)
		}
		printsTheSame(t, "sorry", []byte(text))
	}
}
