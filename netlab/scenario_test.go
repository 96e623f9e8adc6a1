package netlab

import (
	"os"
	"strings"
	"testing"
)

const oneNode = "lan lan\nnode n1 ringkeep lan:eth0 10.0.0.1/24\n"

const fourBridged = "lan lan bridge\nhost a lan:eth0 10.0.0.1/24\nhost b lan:eth0 10.0.0.2/24\nhost c lan:eth0 10.0.0.3/24\nhost d lan:eth0 10.0.0.4/24\n"

const itsConf = "-- n1.conf --\nx\n"

func TestParseNamesThePosition(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "s: has no statements: it must be a txtar archive with them at its beginning"},
		{"# only a drawing\n", "s: has no statements: it must be a txtar archive with them at its beginning"},
		{oneNode + "jump n1\n" + itsConf, `s:3:1: unknown statement "jump"`},
		{oneNode + "link n1\n" + itsConf, "s:3:1: wrong number of words: link HOST up|down [IFACE]"},
		{oneNode + "link n2 up\n" + itsConf, "s:3:6: no host n2 is declared above"},
		{oneNode + "up  n1 n3\n" + itsConf, "s:3:8: no node n3 is declared above"},
		{oneNode, "s:2:6: node n1: the archive has no file n1.conf"},
		{"lan lan\nnode n1 bird lan:eth0 10.0.0.1/24\n" + itsConf, "s:2:9: kind bird: must be ringkeep or keepalived or frr"},
		{"lan lan\nnode n1 frr lan:eth0 10.0.0.1/24\n" + itsConf, "s:2:6: n1.conf: no line is vrrp VRID ip|ipv6 ADDRESS, below interface NAME"},
		{"lan lan\nhost c wan:eth0 10.0.0.1/24\n", "s:2:8: no lan wan is declared above"},
		{"lan lan\nhost c lan 10.0.0.1/24\n", "s:2:8: lan: must be LAN:IFACE"},
		{"lan lan\nhost c lan:eth0 10.0.0.1\n", "s:2:17: 10.0.0.1: must be ADDR/LEN"},
		{oneNode + "-- --\n", "s:3:1: a file must have a name: -- NAME --"},
		{"lan lan\nlan lan\n", "s:2:5: lan is declared twice"},
		{oneNode + "drop n1 to n2 vrrp\n" + itsConf, "s:3:12: no host n2 is declared above"},
		{oneNode + "drop n1 vrp\n" + itsConf, "s:3:9: vrp: must be a kind (vrrp, arp, tcp, udp, multicast, all), a share such as 30%, a number of frames such as 3 frames, or a time"},
		{oneNode + "partition n1 | n2\n" + itsConf, "s:3:16: no host n2 is declared above"},
		{oneNode + "stays 4s no log\n" + itsConf, "s:3:10: no: a condition must follow, such as no log NODE TEXT"},
		{oneNode + "run 4\n" + itsConf, "s:3:5: 4: must be a time such as 4s"},
		{oneNode + "script n1 s yes\n" + itsConf, "s:3:13: yes: must be ok, fail or hang"},
		{oneNode + "probe p n1 tcp 10.0.0.9:80\n" + itsConf, "s:3:12: tcp: must be udp, http or icmp"},
		{oneNode + "probe p n1 icmp 10.0.0.9:80\n" + itsConf, "s:3:17: 10.0.0.9:80: must be an address"},
		{oneNode + "probe p n2 icmp 10.0.0.9\n" + itsConf, "s:3:9: no host n2 is declared above"},
		{"lan lan bridge\nhost a lan:eth0 10.0.0.1/24\ndrop a udp\n", "s:3:1: the kernel carries the frames of lan lan: only partition, heal and link befall them"},
		{"lan lan bridge\nhost a lan:eth0 10.0.0.1/24\nhost b lan:eth0 10.0.0.2/24\npartition a | a\n", "s:4:1: lan lan is a bridge of the kernel: every host must be in a group"},
		{fourBridged + "partition a b | c d\n", "s:6:1: lan lan is a bridge of the kernel: all groups but one must be of a single host"},
		{oneNode + "advert n1 vrid 0 priority 1\n" + itsConf, "s:3:11: advert needs a vrid"},
	} {
		_, err := Parse("s", []byte(tt.text))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

func TestWordsMayBeQuoted(t *testing.T) {
	s, err := Parse("s", []byte(oneNode+"wait 1s log n1 \"Disabling service # 1\" # comment\n"+itsConf))
	if err != nil {
		t.Fatal(err)
	}
	last := s.Statements[len(s.Statements)-1]
	if got := strings.Join(last.Words, "|"); got != "wait|1s|log|n1|Disabling service # 1" {
		t.Fatal(got)
	}
}

func TestStatementsThatStandForOthers(t *testing.T) {
	all, err := ParseAll("s", []byte("sweep N 1 2\nsweep M x y\n"+oneNode+"at 2s flap n1 $N 300ms eth0\nsay $M\nrepeat 5 seed 9\n"+itsConf))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 || all[3].Name != "s N=2 M=y" {
		t.Fatalf("%d scenarios, the last is %q", len(all), all[len(all)-1].Name)
	}
	var got []string
	for _, st := range all[3].Statements[4:] {
		got = append(got, st.String())
	}
	want := "at 2s|link n1 down eth0|run 300ms|link n1 up eth0|run 300ms|link n1 down eth0|run 300ms|link n1 up eth0|run 300ms|say y|repeat 5 seed 9"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
	if n, seed := all[3].Repeat(); n != 5 || seed != 9 {
		t.Errorf("repeat %d seed %d", n, seed)
	}
	for text, want := range map[string]string{
		oneNode + "flap n1 0 1s\n" + itsConf:                  "s:3:9: 0: must be a number from 1 to 1000",
		oneNode + "flap n1 2 x\n" + itsConf:                   "s:3:11: x: must be a time such as 4s",
		oneNode + "at 2s jump n1\n" + itsConf:                 `s:3:7: unknown statement "jump"`,
		oneNode + "repeat 0\n" + itsConf:                      "s:3:8: 0: must be a number of runs",
		oneNode + "repeat 2 from 1\n" + itsConf:               "s:3:8: must be repeat N [seed S]",
		oneNode + "starve n1 99%\n" + itsConf:                 "s:3:11: 99%: must be a share such as 80%, up to 95%",
		oneNode + "iface n1 eth0 remove\n" + itsConf:          "s:3:15: remove: must be delete or create",
		oneNode + "link n1 left\n" + itsConf:                  "s:3:9: left: must be up or down",
		oneNode + "sweep X\n" + itsConf:                       "s:3:1: wrong number of words: sweep NAME VALUE...",
		"lan lan\nhost c lan:eth0 10.0.0.1/24 vip 10.0.0.9\n": "s:2:1: vip is for a realserver",
		"lan lan\nhost c lan:eth0 10.0.0.1/24 via x\n":        "s:2:33: x: must be an address",
	} {
		if _, err := ParseAll("s", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// TestBridgedPartitions: of a kernel's bridge one host after the other can be cut off.
func TestBridgedPartitions(t *testing.T) {
	s, err := Parse("s", []byte(fourBridged+"partition a | b d | c\nprobe p a icmp 10.0.0.4\n"))
	if err != nil {
		t.Fatal(err)
	}
	var n Network
	n.Partition(s.Statements[5].Words)
	for host, want := range map[string]bool{"a": true, "b": false, "c": true, "d": false, "e": false} {
		if n.Alone(host) != want {
			t.Errorf("%s alone: %v", host, !want)
		}
	}
	if !s.Needs("namespaces") {
		t.Error("the simulator would play a probe that a kernel answers")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(oneNode + "wait 1s n1 state MASTER\n" + itsConf))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := Parse("s", text); err == nil && len(s.Statements) == 0 {
			t.Fatal("nothing to do and no error")
		}
	})
}

// TestEveryStatementIsDocumented keeps docs/lab.md complete.
func TestEveryStatementIsDocumented(t *testing.T) {
	manual, err := os.ReadFile("../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range forms {
		if !strings.Contains(string(manual), "`"+name+" ") && !strings.Contains(string(manual), "`"+name+"`") {
			t.Errorf("docs/lab.md lacks %s", name)
		}
	}
}
