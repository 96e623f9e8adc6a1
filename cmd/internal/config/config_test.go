package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// TestSeeds holds the messages on every seed file and its effective configuration
// against the text beside it, which people review.
func TestSeeds(t *testing.T) {
	files, err := filepath.Glob("testdata/seed/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatal("no seed files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := dump(t, filepath.Base(file), text)
			golden := strings.TrimSuffix(file, ".conf") + ".txt"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func dump(t *testing.T, name string, text []byte) string {
	t.Helper()
	cfg, messages := Parse(name, text, Options{ConfigID: "here"})
	var b strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&b, "%v\n%s", m, m.Excerpt())
	}
	b.WriteString("----\n")
	if err := cfg.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestMessages has one line of configuration a row, inside a good instance.
func TestMessages(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{`preemtp_delay 300`, `a.conf:5:1: warning: unknown keyword "preemtp_delay" in vrrp_instance A (did you mean "preempt_delay"?)`},
		{`wxyzzy`, `a.conf:5:1: warning: unknown keyword "wxyzzy" in vrrp_instance A`},
		{`linkbeat_use_polling`, `a.conf:5:1: notice: linkbeat_use_polling: has no meaning here: deprecated; links are watched by netlink`},
		{`priority 300`, `a.conf:5:10: warning: priority 300: must be a whole number from 1 to 255; the line is ignored`},
		{`priority`, `a.conf:5:1: error: priority needs a value, N: keepalived stops at the bare word`},
		{`advert_int 1.5`, `a.conf:5:12: warning: advert_int 1.5s: version 2 takes steps of 1s up to 4m15s; it becomes 2s`},
		{`authentication { auth_type PASS auth_pass x }`, `a.conf:5:1: warning: authentication without auth_pass; it is ignored`},
		{"authentication {\nauth_type PASS\nauth_pass 1234567890\n}", `a.conf:7:11: warning: auth_pass "1234567890": only its first 8 bytes count: "12345678"`},
		{"authentication {\nauth_type PSAA\n}", `a.conf:6:11: warning: auth_type PSAA: must be PASS or AH (did you mean PASS?); the line is ignored`},
		{`notify_fault “/x y”`, `a.conf:5:14: warning: curly quote “ is not a quote to keepalived: write " instead`},
		{`mcast_src_ip <IPADDR>`, `a.conf:5:14: warning: <IPADDR> is a placeholder from a manual: put your own value there`},
		{`notify "/x`, `a.conf:5:8: warning: the quote " is not closed on this line; the line is ignored`},
		{`unicast_peer { here }`, `a.conf:5:16: warning: unicast_peer here: must be an IP address; the line is ignored`},
		{`}`, `a.conf:6:1: warning: extra } closes no block`},
		{"timer_expired_backup 9", `a.conf:5:22: warning: timer_expired_backup: needs nopreempt; it is ignored`},
		{"}\ngarp_group {\ninterface eth0", `a.conf:6:1: warning: garp_group: has neither garp_interval nor gna_interval; it is ignored`},
		{"}\ngarp_group {\ninterface eth0\ngarp_interval 1\n}\ngarp_group {\ngna_interval 1\ninterfaces {\neth1\neth0\n}", `a.conf:12:1: warning: garp_group: eth0 is in another one already; it is ignored here`},
		{`track_script { nobody }`, `a.conf:5:16: warning: track_script nobody: no vrrp_script of that name above; it is ignored`},
	} {
		text := "vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 10.0.0.1 }\n" + tt.line + "\n}\n"
		_, messages := Parse("a.conf", []byte(text), Options{ConfigID: "here"})
		found := false
		for _, m := range messages {
			found = found || m.String() == tt.want
		}
		if !found {
			t.Errorf("%s\ngot  %v\nwant %s", tt.line, messages, tt.want)
		}
	}
}

// TestSpellings are ways to write the same file.
func TestSpellings(t *testing.T) {
	for _, text := range []string{
		"vrrp_instance A\n{\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress\n{\n10.0.0.1/24 dev eth1 label eth1:x brd +\n}\n}\n",
		"vrrp_instance A { # comment\n! another\ninterface \"eth0\" # and more\nvirtual_router_id \"7\"\nvirtual_ipaddress { 10.0.0.1/24 brd + dev eth1 label eth1:x }\n}",
		"\tvrrp_instance A {\r\n  interface \"eth0\"\r\n @here virtual_router_id 7\r\n@^here priority 3\n@there priority 5\nvirtual_ipaddress { 10.0.0.1/24 label eth1:x dev eth1 broadcast + } }",
	} {
		cfg, messages := Parse("a.conf", []byte(text), Options{ConfigID: "here"})
		if len(messages) != 0 || len(cfg.Instances) != 1 {
			t.Errorf("%q: %v", text, messages)
			continue
		}
		in := cfg.Instances[0]
		a := in.Addresses[0]
		if in.Interface != "eth0" || in.VRID != 7 || in.Priority != 100 || a.Prefix.String() != "10.0.0.1/24" ||
			a.Device != "eth1" || a.Label != "eth1:x" || a.Broadcast.Addr.String() != "10.0.0.255" {
			t.Errorf("%q: %+v", text, in)
		}
	}
}

func TestCommandsAreSplitTwice(t *testing.T) {
	text := `vrrp_script s { script "/opt/x/n.sh one 'two three' four\ five \x41" nobody }`
	cfg, messages := Parse("a.conf", []byte(text), Options{})
	if len(messages) != 0 {
		t.Fatal(messages)
	}
	s := cfg.Scripts[0]
	if got := strings.Join(s.Script.Args, "|"); got != "/opt/x/n.sh|one|two three|four five|A" || s.User != "nobody" {
		t.Errorf("got %s as %q", got, s.User)
	}
}

// TestChecksInherit has the retry of a check from every block around it.
func TestChecksInherit(t *testing.T) {
	for _, tt := range []struct {
		service, server, check string
		want                   int
	}{
		{"", "", "", 1}, {"retry 4", "", "", 4}, {"retry 4", "retry 5", "", 5}, {"retry 4", "retry 5", "retry 6", 6}, {"", "", "nb_get_retry 7", 7}, {"", "retry 5", "retry 0", 0},
	} {
		for _, kind := range []string{"HTTP_GET", "SSL_GET"} {
			text := "virtual_server 10.0.0.1 80 {\nprotocol TCP\n" + tt.service + "\nreal_server 10.0.0.2 80 {\n" + tt.server + "\n" + kind + " {\n" + tt.check + "\nurl {\npath /\n}\n}\n}\n}\n"
			cfg, _ := Parse("a.conf", []byte(text), Options{})
			if got := cfg.VirtualServers[0].RealServers[0].Checks[0].Retry; got != tt.want {
				t.Errorf("%s: retry %d in %+v", kind, got, tt)
			}
		}
	}
}

func TestEveryPortNeedsPersistence(t *testing.T) {
	_, messages := Parse("a.conf", []byte("virtual_server 10.0.0.1 {\nlvs_sched wlc\nlvs_method DR\nprotocol TCP\nreal_server 10.0.0.2 {\n}\n}\n"), Options{})
	want := "a.conf:1:1: warning: virtual_server 10.0.0.1:0: a service of every port needs persistence_timeout; it becomes 360 seconds"
	if len(messages) == 0 || messages[0].String() != want {
		t.Errorf("got %v, want %s", messages, want)
	}
}

func TestExplainCountsLines(t *testing.T) {
	_, err := Explain("a.conf", []byte("one\ntwo\n"), 3, Options{})
	if err == nil || err.Error() != "a.conf has no line 3, it has 2" {
		t.Error(err)
	}
}

// TestPrintedWords are words that must survive printing.
func TestPrintedWords(t *testing.T) {
	for _, line := range []string{
		`auth_pass it's`, `auth_pass a\`, `auth_pass "#a"`, `auth_pass "a b"`, `auth_pass $x`, `auth_pass ~a`,
	} {
		printsTheSame(t, line, []byte(inside("authentication {\nauth_type PASS\n"+line+"\n}")))
	}
	for _, line := range []string{
		`notify "/x a 'b c' \x27 \" \x22 d\""`, `notify "/x 'sh $X ${Y} #'"`, `notify '/x "" \\ '`, `notify "/x ä 'ö ü'"`,
	} {
		printsTheSame(t, line, []byte(inside(line)))
	}
	for _, regex := range []string{`"a\.b"`, `a\\`, `"a\"b"`, `'a"b' `, `"a\\\""`, `it\'s`} {
		text := "virtual_server 10.0.0.1 80 {\nprotocol TCP\nreal_server 10.0.0.2 80 {\nHTTP_GET {\nurl {\npath /\nregex " + regex + "\n}\n}\n}\n}\n"
		printsTheSame(t, regex, []byte(text))
	}
}

func TestLoadSaysWhatIsWrongWithTheFile(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, []byte("\x7fELF\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "none: no such file: name a keepalived.conf",
		dir:                        ": is a directory: name a file in it",
		binary:                     "binary: is a binary file: name a keepalived.conf",
	} {
		_, _, err := Load(path, Options{})
		if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.HasPrefix(err.Error(), dir) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FuzzParse holds that no text makes the reader panic or say something outside of it,
// and that what it prints reads as itself.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/seed/*.conf")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("$A=1 \\\n @here x\n~SEQ(A,1,3) ~LST({B,C},{1,2}) $A ${B}${_RANDOM 1 2}\n@^here include x{a,b}*\n"))
	f.Add([]byte("static_routes {\nblackhole default\n192.0.2.0/24 nexthop via 192.0.2.1 dev eth0 weight 2 nexthop via 192.0.2.2\n10.0.0.0/8 encap mpls 1/2 mtu lock 1400\n}\n"))
	f.Add([]byte("vrrp_instance A { use_vmac name x 0:0:5e:0:1\nauth_hmac { key 1 hex:00\n}\nvirtual_rules { from 10.0.0.0/8 table 7 sport 1-2\n}\n}\n"))
	f.Add([]byte("global_defs {\n@ringkeep packet_mark 7 iif x ip saddr 10.0.0.0/8 daddr 10.0.0.1,10.0.0.2 tcp sport 1-2 dport 3,4\npacket_mark 0 ip6 udp\n@ringkeep midstream drop\nconnection_table 2000 full recycle\n}\n" +
		"virtual_server_group G {\n10.0.0.1-3 80\n@ringkeep 10.0.0.1 80-90\n2001:db8::/126 5\nfwmark 7 inet6\n}\nvirtual_server group G {\nlvs_method TUN type gue port 7 csum\n@ringkeep cache_bypass\nreal_server 10.0.0.5 80 {\nTCP_CHECK {\n}\n}\n}\nvirtual_server fwmark 7 {\nops\nreal_server ::1 {\n}\n}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		o := Options{ConfigID: "here", glob: func(string) ([]string, error) { return nil, nil }, lines: 2000}
		whole := Options{ConfigID: "here", glob: o.glob}
		lines := strings.Count(string(text), "\n") + 1
		cfg, messages := Parse("f", text, o)
		for _, m := range messages {
			if m.Pos.Line < 1 || m.Pos.Line > lines || m.Pos.Column < 1 {
				t.Fatalf("message outside the file: %v", m)
			}
		}
		var first, second strings.Builder
		if err := cfg.Print(&first); err != nil {
			t.Fatal(err)
		}
		again, messages := Parse("f", []byte(first.String()), whole)
		if err := again.Print(&second); err != nil {
			t.Fatal(err)
		}
		if first.String() != second.String() {
			t.Fatalf("printed\n%s\nis read as\n%s\n%v", first.String(), second.String(), messages)
		}
	})
}

// TestPrintIsRead holds that what is printed reads as the same configuration, and prints
// the same text again.
func TestPrintIsRead(t *testing.T) {
	files, _ := filepath.Glob("testdata/*/*.conf")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		printsTheSame(t, file, text)
	}
}

func printsTheSame(t *testing.T, name string, text []byte) {
	t.Helper()
	var first, second strings.Builder
	cfg, _ := Parse(name, text, Options{ConfigID: "here"})
	if err := cfg.Print(&first); err != nil {
		t.Fatal(err)
	}
	again, messages := Parse(name, []byte(first.String()), Options{ConfigID: "here"})
	if err := again.Print(&second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("%s: printed\n%s\nis read as\n%s\n%v", name, first.String(), second.String(), messages)
	}
	if a, b := withoutPlaces(t, cfg), withoutPlaces(t, again); a != b {
		t.Errorf("%s: is\n%s\nand read again\n%s\n%v", name, a, b, messages)
	}
}

// withoutPlaces writes a configuration without the places of its parts.
func withoutPlaces(t *testing.T, cfg *Config) string {
	t.Helper()
	j, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(j, &v); err != nil {
		t.Fatal(err)
	}
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			delete(v, "file")
			delete(v, "line")
			delete(v, "column")
			for key, inner := range v {
				strip(inner)
				if list, ok := inner.([]any); ok && len(list) == 0 {
					v[key] = nil
				}
			}
		case []any:
			for _, inner := range v {
				strip(inner)
			}
		}
	}
	strip(v)
	j, _ = json.MarshalIndent(v, "", " ")
	return string(j)
}
