package netlab

import (
	"os"
	"strings"
	"testing"
)

const oneNode = "lan lan\nnode n1 ringkeep lan:eth0 10.0.0.1/24\n"

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
		{"lan lan\nnode n1 bird lan:eth0 10.0.0.1/24\n" + itsConf, "s:2:9: kind bird: must be ringkeep or keepalived"},
		{"lan lan\nhost c wan:eth0 10.0.0.1/24\n", "s:2:8: no lan wan is declared above"},
		{"lan lan\nhost c lan 10.0.0.1/24\n", "s:2:8: lan: must be LAN:IFACE"},
		{"lan lan\nhost c lan:eth0 10.0.0.1\n", "s:2:17: 10.0.0.1: must be ADDR/LEN"},
		{oneNode + "-- --\n", "s:3:1: a file must have a name: -- NAME --"},
		{"lan lan\nlan lan\n", "s:2:5: lan is declared twice"},
		{oneNode + "drop n1 to n2 vrrp\n" + itsConf, "s:3:12: no host n2 is declared above"},
		{oneNode + "drop n1 vrp\n" + itsConf, "s:3:9: vrp: must be a kind (vrrp, arp, tcp, udp, multicast, all), a share such as 30%, a number of frames such as 3 frames, or a time"},
		{oneNode + "partition n1 | n2\n" + itsConf, "s:3:16: no host n2 is declared above"},
		{oneNode + "run 4\n" + itsConf, "s:3:5: 4: must be a time such as 4s"},
		{oneNode + "script n1 s yes\n" + itsConf, "s:3:13: yes: must be ok, fail or hang"},
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
