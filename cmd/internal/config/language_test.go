package config

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside is a good instance with lines added to it; the first stands on line 5.
func inside(lines string) string {
	return "vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress { 10.0.0.1 }\n" + lines + "\n}\n"
}

func parseOne(t *testing.T, text string) (*Instance, []Message) {
	t.Helper()
	cfg, messages := Parse("a.conf", []byte(text), Options{ConfigID: "one"})
	if len(cfg.Instances) != 1 {
		t.Fatalf("%q: %d instances, %v", text, len(cfg.Instances), messages)
	}
	return cfg.Instances[0], messages
}

// TestLanguage has what stands before the instance, lines in it, and what they come to.
func TestLanguage(t *testing.T) {
	vips := func(in *Instance) string {
		var list []string
		for _, a := range in.Addresses {
			list = append(list, a.Prefix.String())
		}
		return strings.Join(list, " ")
	}
	priority := func(in *Instance) string { return fmt.Sprint(in.Priority) }
	expired := func(in *Instance) string { return fmt.Sprint(in.TimerExpiredBackup) }
	checks := func(in *Instance) string { return fmt.Sprint(in.CheckUnicastSrc) }
	for _, tt := range []struct {
		name, before, lines string
		get                 func(*Instance) string
		want                string
	}{
		{"definition", "$P=120\n", "priority $P", priority, "120"},
		{"braced inside a word", "$P=12\n", "priority ${P}0", priority, "120"},
		{"the last definition counts", "$P=120\n$P=130\n", "priority $P", priority, "130"},
		{"definitions name each other", "$A=1\n$B=${A}2\n", "priority ${B}3", priority, "123"},
		{"empty value", "$A=\n", "priority ${A}77", priority, "77"},
		{"no blank before =", "", "priority 90", priority, "90"},
		{"several lines", "$BLOCK= \\\n priority 111 \\\n nopreempt\n", "$BLOCK", priority, "111"},
		{"several lines with a condition inside", "$BLOCK= \\\n @one priority 7 \\\n @^one priority 8\n", "$BLOCK", priority, "7"},
		{"condition holds", "", "@one priority 50", priority, "50"},
		{"condition does not hold", "", "priority 9\n@two priority 50", priority, "9"},
		{"negated", "", "@^two priority 51", priority, "51"},
		{"lines of ours", "", "@ringkeep priority 52", priority, "52"},
		{"unicast peers alone are heard", "", "unicast_peer {\n10.0.0.7\n}", checks, "true"},
		{"unless the file says else", "", "unicast_peer {\n10.0.0.7\n}\n@ringkeep check_unicast_src off", checks, "false"},
		{"for all instances", "global_defs {\n@ringkeep vrrp_check_unicast_src off\n}\n", "unicast_peer {\n10.0.0.7\n}", checks, "false"},
		{"condition before a definition", "@one $P=120\n@^one $P=110\n", "priority $P", priority, "120"},
		{"nothing behind the id", "", "priority 9\n@one", priority, "9"},
		{"sequence", "", "virtual_ipaddress {\n~SEQ(A, 240, 5, 250) 10.77.0.${A}\n}", vips, "10.0.0.1/32 10.77.0.240/32 10.77.0.245/32 10.77.0.250/32"},
		{"sequence to an end", "", "virtual_ipaddress {\n~SEQ(A, 3) 10.77.0.${A}/24\n}", vips, "10.0.0.1/32 10.77.0.1/24 10.77.0.2/24 10.77.0.3/24"},
		{"sequence downwards", "", "virtual_ipaddress {\n~SEQ(A, 3, 2) 10.77.0.$A\n}", vips, "10.0.0.1/32 10.77.0.3/32 10.77.0.2/32"},
		{"sequences nest", "", "virtual_ipaddress {\n~SEQ(B, 2) ~SEQx(C, 9, 10) 2001:db8::$B:$C\n10.0.0.$B\n}", nil, ""},
		{"hexadecimal", "", "virtual_ipaddress_excluded {\n~SEQx(C, 9, 11) 2001:db8::${C}\n}", func(in *Instance) string { return fmt.Sprint(len(in.Excluded), in.Excluded[2].Prefix) }, "3 2001:db8::b/128"},
		{"list", "", "virtual_ipaddress {\n~LST(A, 7, 9) 10.77.0.$A\n}", vips, "10.0.0.1/32 10.77.0.7/32 10.77.0.9/32"},
		{"list of tuples", "", "virtual_ipaddress {\n~LST({A, B}, {7, 24}, {9, 25}) 10.77.0.${A}/${B}\n}", vips, "10.0.0.1/32 10.77.0.7/24 10.77.0.9/25"},
		{"list over lines of a definition", "$BLOCK= \\\n10.77.0.${A}/24 \\\n10.78.0.${A}\n", "virtual_ipaddress {\n~LST(A, 7) $BLOCK\n}", vips, "10.0.0.1/32 10.77.0.7/24 10.78.0.7/32"},
		{"predefined", "", "notify \"${_INSTANCE}${_HASH}${_BANG}\"", func(in *Instance) string { return in.Notify.Args[0] }, "one#!"},
		{"random within bounds", "", "priority ${_RANDOM 17 17}", priority, "17"},
		{"comment in double quotes", "", `notify "a#b!c" # more`, func(in *Instance) string { return in.Notify.Args[0] }, "a#b!c"},
		{"escaped comment", "", `notify a\#b`, func(in *Instance) string { return in.Notify.Args[0] }, "a#b"},
		{"brace on the next line", "", "authentication\n{\nauth_type PASS\nauth_pass x\n}", func(in *Instance) string { return in.AuthPass }, "x"},
		{"brace without blank", "", "authentication{\nauth_type PASS\nauth_pass x}", func(in *Instance) string { return in.AuthPass }, "x"},
		{"apostrophe in a password", "", "authentication {\nauth_type PASS\nauth_pass it's\n}", func(in *Instance) string { return in.AuthPass }, "it's"},
		{"single quotes are characters", "", "authentication {\nauth_type PASS\nauth_pass 'a'\n}", func(in *Instance) string { return in.AuthPass }, "'a'"},
		{"backslash in a password", "", "authentication {\nauth_type PASS\nauth_pass a\\b\n}", func(in *Instance) string { return in.AuthPass }, `a\b`},
		{"a quote ends a word", "", "state MASTER\npriority 12\"3\"", priority, "12"},
		{"an open quote ends the line", "", "priority 12 \"3", priority, "12"},
		{"old spelling", "", "advert_int 2", func(in *Instance) string { return in.AdvertInterval.String() }, "2s"},
		{"rounded", "", "advert_int 1.4", func(in *Instance) string { return in.AdvertInterval.String() }, "1s"},
		{"rounded in version 3", "", "version 3\nadvert_int 0.516", func(in *Instance) string { return in.AdvertInterval.String() }, "520ms"},
		{"clamped in version 3", "", "version 3\nadvert_int 60", func(in *Instance) string { return in.AdvertInterval.String() }, "40.95s"},
		{"MASTER without priority", "", "state MASTER", priority, "255"},
		{"repeated global_defs", "global_defs {\nvrrp_version 3\n}\nglobal_defs {\nvrrp_garp_master_repeat 7\n}\n", "", func(in *Instance) string { return fmt.Sprint(in.Version, in.GARPMasterRepeat) }, "3 7"},
		{"timer_expired_backup without a priority", "", "nopreempt\ntimer_expired_backup", expired, "254"},
		{"timer_expired_backup by its mistaken name", "", "nopreempt\nthread_timer_expired 7", expired, "7"},
		{"timer_expired_backup needs nopreempt", "", "timer_expired_backup 7", expired, "0"},
		{"global_defs below", "", "}\nglobal_defs {\nvrrp_version 3", func(in *Instance) string { return fmt.Sprint(in.Version) }, "3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.get == nil {
				return
			}
			in, messages := parseOne(t, tt.before+inside(tt.lines))
			if got := tt.get(in); got != tt.want {
				t.Errorf("got %s, want %s; %v", got, tt.want, messages)
			}
		})
	}
}

// TestLanguageMistakes has a line, and the message on it.
func TestLanguageMistakes(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"priority $Q", `a.conf:5:10: warning: priority $Q: must be a whole number from 1 to 255; the line is ignored`},
		{"~SEQ(A, 1, 0, 5) priority $A", `a.conf:5:1: warning: ~SEQ(A, 1, 0, 5): the steps do not lead from 1 to 5; the line is ignored`},
		{"~SEQ(A, x) priority $A", `a.conf:5:1: warning: ~SEQ(A, x): x: must be a number; the line is ignored`},
		{"~SEQ(A, 3 priority $A", `a.conf:5:1: warning: ~SEQ: ) is missing; the line is ignored`},
		{"~SEQ(A, 1, 999999999) priority $A", `a.conf:5:1: warning: ~SEQ(A, 1, 999999999): 999999999 turns are too many; the line is ignored`},
		{"~LST({A}, {1, 2}) priority $A", `a.conf:5:1: warning: ~LST({A}, {1, 2}): 2 values for 1 variables; the line is ignored`},
		{"priority \\\n100", `a.conf:5:10: warning: the line goes on below; keepalived joins lines in definitions only`},
		{"includem nothing", `a.conf:5:10: warning: includem nothing: no such file`},
		{"include nothing", `a.conf:5:9: notice: include nothing: no such file; nothing is included`},
		{"notify " + strings.Repeat("x", 1100), `a.conf:5:1: warning: the line has 1107 bytes; keepalived takes 1023: it is ignored`},
		{"auth_type PASS", `a.conf:5:1: warning: "auth_type" does not belong in vrrp_instance A but in authentication`},
		{"virtual_server 10.0.0.1 80 {\n}", `a.conf:5:1: warning: virtual_server inside vrrp_instance A, which began at line 1: is a } missing above?; keepalived does not skip its block: the } of it ends vrrp_instance A`},
		{"foo {\npriority 7\n}", `a.conf:5:1: warning: unknown keyword "foo" in vrrp_instance A; keepalived does not skip its block: the } of it ends vrrp_instance A`},
		{"authentication\nauth_type PASS\n}", `a.conf:6:1: warning: authentication has no {: its block begins with this line all the same`},
		{"nopreempt off", `a.conf:5:11: warning: nopreempt takes no value: off does not switch it off`},
		{"priority 100 200", `a.conf:5:14: warning: 200: too many words for priority; they are ignored`},
		{`notify "/bin/x it's"`, `a.conf:5:8: warning: notify: a quote within the command is not closed; the line is ignored`},
		{`priority "7`, `a.conf:5:10: warning: the quote " is not closed on this line; it and what follows are ignored`},
		{`interface 'eth0'`, `a.conf:5:11: notice: 'eth0': single quotes belong to the value; only double quotes and those of commands do not`},
		{"debug", `a.conf:5:1: warning: debug needs a number for keepalived, which stops here; it is ignored`},
		{"notify /bin/x -v", `a.conf:5:15: warning: -v: is taken for the user that runs /bin/x: put the command and its arguments into one pair of quotes`},
		{"virtual_ipaddress { 10.0.0.9/33 }", `a.conf:5:21: warning: 10.0.0.9/33: must be an address such as 192.0.2.1 or 192.0.2.1/24; the address is ignored`},
		{"virtual_ipaddress { 10.0.0.9 dev }", `a.conf:5:30: warning: dev: needs a value; it is ignored`},
		{"virtual_ipaddress { 10.0.0.9 lable x }", `a.conf:5:30: warning: lable: no option of an address (did you mean label?); it is ignored`},
		{"virtual_ipaddress { 10.0.0.9/24 peer 10.0.0.8 }", `a.conf:5:21: warning: 10.0.0.9/24: an address with a peer has no prefix; it becomes 10.0.0.9`},
		{"virtual_ipaddress { 10.0.0.9 peer 10.0.0.8/24 }", `a.conf:5:35: warning: peer "10.0.0.8/24": must be an IP address; it is ignored`},
		{"virtual_ipaddress { 10.0.0.9 peer fe80::1 }", `a.conf:5:21: warning: 10.0.0.9: the peer fe80::1 is of another family; it is ignored`},
		{"virtual_ipaddress { default }", `a.conf:5:21: warning: default: is no address of an interface; the address is ignored`},
		{"virtual_routes { default nexthop via 10.0.0.1 dev eth0 nexthop via fe80::1 dev eth0 }", `a.conf:5:18: warning: the route to 0.0.0.0/0 and fe80::1 are of two families; the route is ignored`},
		{"virtual_routes { 10.0.0.0/8 nexthop via 10.0.0.1 dev eth0 }", `a.conf:5:18: warning: the route to 10.0.0.0/8 names no interface: its loss cannot be noticed (no_track)`},
		{"unicast_ttl 7", `a.conf:5:13: warning: unicast_ttl without a usable unicast_peer: advertisements go to the multicast group`},
		{"interface lo", `a.conf:5:11: warning: vrrp_instance A: a loopback interface reaches no other node; the instance is not started`},
		{"virtual_routes { src 10.0.0.1 via 10.0.0.2 }", `a.conf:5:18: warning: the route has no destination; it is ignored`},
		{"virtual_rules { from 10.0.0.1 }", `a.conf:5:17: warning: the rule has 0 actions, must have one (table, goto, nop, blackhole, prohibit, unreachable or l3mdev); it is ignored`},
		{"lvs_sync_daemon_interface eth0", `a.conf:5:27: notice: lvs_sync_daemon: is for the kernel's IPVS (--dataplane ipvs); connections of the ring stay on their director`},
		{"owner_ignore_adverts", `a.conf:5:1: notice: owner_ignore_adverts: newer than keepalived 2.2.7`},
		{"track_interface {\neth1 reverse\n}", `a.conf:6:6: warning: reverse: must be weight N, then reverse or noreverse (one name a line); the line is ignored`},
		{"track_interface {\neth1 weight 3 eth2\n}", `a.conf:6:15: warning: eth2: must be reverse or noreverse (one name a line); it is ignored`},
		{"track_interface {\neth1 weight 300\n}", `a.conf:6:13: warning: weight 300: must be a whole number from -254 to 254; it is ignored`},
		{"priority 10\npriority 20", `a.conf:5:10: notice: priority is written again at line 6, which counts`},
	} {
		_, messages := Parse("a.conf", []byte(inside(tt.line)), Options{ConfigID: "one"})
		found := false
		for _, m := range messages {
			found = found || m.String() == tt.want
		}
		if !found {
			t.Errorf("%.60s\ngot  %v\nwant %s", tt.line, messages, tt.want)
		}
	}
}

// An instance of IPv6 runs: the first address decides, those of the other family are for
// virtual_ipaddress_excluded, and unicast adverts have the kernel's hop limit.
func TestInstanceOfIPv6(t *testing.T) {
	cfg, messages := Parse("a.conf", []byte("vrrp_instance A {\ninterface eth0\nvirtual_router_id 51\nunicast_peer {\n2001:db8::2\n}\n"+
		"virtual_ipaddress {\nfe80::100\n2001:db8::100/64\n10.0.0.1\n}\nvirtual_ipaddress_excluded {\n10.0.0.2\n}\n}\n"), Options{ConfigID: "one"})
	in := cfg.Instances[0]
	if in.Disabled != "" || in.Family() != 6 || in.Version != 3 || in.UnicastTTL != 64 || len(in.Addresses) != 2 || len(in.Excluded) != 1 {
		t.Errorf("%+v", in)
	}
	want := "a.conf:10:1: warning: 10.0.0.1/32: addresses of one instance are of one family; put it into virtual_ipaddress_excluded. It is ignored"
	if len(messages) != 1 || messages[0].String() != want {
		t.Errorf("got  %v\nwant %s", messages, want)
	}
	_, messages = Parse("a.conf", []byte("vrrp_instance A {\ninterface eth0\nvirtual_router_id 51\nstrict_mode\nvirtual_ipaddress {\n2001:db8::100/64\n}\n}\n"), Options{ConfigID: "one"})
	want = "a.conf:6:1: warning: vrrp_strict: the first IPv6 address must be link-local (RFC 9568 §5.2.9)"
	if !slices.ContainsFunc(messages, func(m Message) bool { return m.String() == want }) {
		t.Errorf("got  %v\nwant %s", messages, want)
	}
}

// TestTrackLines has a line about a script of weight -20 reverse, and what it comes to.
func TestTrackLines(t *testing.T) {
	for line, want := range map[string]string{
		"s": "s weight -20 reverse", "s weight 30": "s weight 30 reverse", "s weight 30 noreverse": "s weight 30 noreverse",
		"s weight 999 noreverse": "s weight -20 noreverse", "s noreverse": "", "s weight": "",
	} {
		in, _ := parseOne(t, "vrrp_script s {\nscript /bin/true\nweight -20 reverse\n}\n"+inside("track_script {\n"+line+"\n}"))
		got := ""
		for _, words := range in.TrackScripts.lines() {
			got += strings.Join(words, " ")
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

// TestWeightsThatCannotCount has what is left of the trackers of an owner, and of a
// member of a group.
func TestWeightsThatCannotCount(t *testing.T) {
	const before = "vrrp_script s {\nscript /bin/true\nweight 5\n}\ntrack_file one {\nfile /x\n}\ntrack_file two {\nfile /y\nweight 2\n}\n"
	const tracks = "track_interface {\neth1 weight 3\n}\ntrack_script {\ns\n}\ntrack_file {\none\ntwo\n}\n"
	const group = "vrrp_sync_group G {\ngroup {\nA\n}\n"
	for _, tt := range []struct{ before, lines, want string }{
		{"", "", "[[eth1 weight 3]] [[s weight 5]] [[one weight 1] [two weight 2]]"},
		{"", "priority 255\n", "[] [] [[one weight 0]]"},
		{group + "}\n", "", "[[eth1 weight 0]] [] [[one weight 0]]"},
		{group + "sync_group_tracking_weight\n}\n", "", "[[eth1 weight 3]] [[s weight 5]] [[one weight 1] [two weight 2]]"},
	} {
		in, _ := parseOne(t, before+tt.before+inside(tt.lines+tracks))
		if got := fmt.Sprint(in.TrackInterfaces.lines(), in.TrackScripts.lines(), in.TrackFiles.lines()); got != tt.want {
			t.Errorf("%q %q: got %s, want %s", tt.before, tt.lines, got, tt.want)
		}
	}
}

// TestExcerpt holds the line and the caret under the right character.
func TestExcerpt(t *testing.T) {
	_, messages := Parse("a.conf", []byte(inside("\tpriority\t300 # größer als 255")), Options{})
	want := "    \tpriority\t300 # größer als 255\n    \t        \t^\n"
	if len(messages) != 1 || messages[0].Excerpt() != want {
		t.Errorf("got %q, want %q", messages[0].Excerpt(), want)
	}
}

// TestIncludes reads files of one directory by every form of include.
func TestIncludes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("main.conf", "$P=130\ninclude sub/*.conf\nincludea {one,two}.inc\nincludew run.inc\n", 0o644)
	write("sub/a.conf", inside("include priority.inc"), 0o644)
	write("sub/b.conf", strings.ReplaceAll(inside("priority 300"), "_id 1", "_id 2"), 0o644)
	write("sub/priority.inc", "priority $P\n", 0o644)
	write("one.inc", "global_defs {\nvrrp_version 2\n", 0o644)
	write("two.inc", "}\n", 0o644)
	write("run.inc", "nonsense\n", 0o755)
	main := filepath.Join(dir, "main.conf")
	cfg, messages, err := Load(main, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := filepath.Join(dir, "sub/b.conf")
	want := []string{
		main + ":4:10: warning: " + dir + "/run.inc: is executable, which keepalived takes for no configuration; it is not included",
		b + ":1:1: warning: vrrp_instance A stands at " + dir + "/sub/a.conf:1:1 already; this one is ignored",
		b + ":5:10: warning: priority 300: must be a whole number from 1 to 255; the line is ignored",
	}
	var got []string
	for _, m := range messages {
		got = append(got, m.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(cfg.Instances) != 1 || cfg.Instances[0].Priority != 130 || cfg.Global.Version != 2 {
		t.Errorf("%+v", cfg.Instances[0])
	}
	if e := messages[len(messages)-1].Excerpt(); !strings.HasPrefix(e, "    priority 300\n") {
		t.Errorf("excerpt %q", e)
	}
	write("circle.conf", "include circle.conf\n", 0o644)
	_, messages, _ = Load(filepath.Join(dir, "circle.conf"), Options{})
	if len(messages) != 1 || !strings.Contains(messages[0].Text, "in a circle") {
		t.Errorf("circle: %v", messages)
	}
}

// TestBigFileLoadsFast is 1,000 instances of 10 addresses each. It counts the CPU time of its
// thread, so that a busy machine does not matter; BenchmarkThousandInstances measures.
func TestBigFileLoadsFast(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime(t)
	cfg, messages := Parse("big.conf", []byte(thousandInstances), Options{})
	took := threadTime(t) - start
	if len(messages) > 0 || len(cfg.Instances) != 1000 || len(cfg.Instances[999].Addresses) != 10 {
		t.Fatalf("%d instances, %v", len(cfg.Instances), messages)
	}
	if limit := 200 * time.Millisecond * slack; took > limit {
		t.Errorf("took %v, must take less than %v", took, limit)
	}
}

// threadTime is the CPU time of the calling thread.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const thousandInstances = `$INSTANCE= \
vrrp_instance VI_${A}_${B} { \
    interface eth${A} \
    virtual_router_id ${B} \
    priority 150 \
    virtual_ipaddress { \
        ~SEQ(H, 1, 10) 10.${A}.${B}.${H}/24 \
    } \
}
~SEQ(A, 1, 4) ~SEQ(B, 1, 250) $INSTANCE
`

func BenchmarkThousandInstances(b *testing.B) {
	for b.Loop() {
		Parse("big.conf", []byte(thousandInstances), Options{})
	}
}

// processorTime is what this thread has used so far: others may keep the machine busy.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestGarbageIsRefused takes 10 MB that are no configuration, of several kinds.
func TestGarbageIsRefused(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	random := rand.New(rand.NewPCG(1, 1))
	printable := make([]byte, 10<<20)
	for i := range printable {
		printable[i] = byte(' ' + random.IntN(95))
		if random.IntN(20) == 0 {
			printable[i] = '\n'
		}
	}
	one := bytes.Repeat([]byte("x"), 10<<20)
	for name, text := range map[string][]byte{
		"printable": printable, "one line": one,
		"open braces":        bytes.Repeat([]byte("{\n"), 5<<20),
		"close braces":       bytes.Repeat([]byte("}\n"), 5<<20),
		"newlines":           bytes.Repeat([]byte("\n"), 10<<20),
		"behind a good line": append([]byte("vrrp_instance A {\n"), printable...),
		"recursion":          []byte("$A=${A}${A}\n$A\n~SEQ(X,1,99999) ~SEQ(Y,1,99999) $X\n"),
	} {
		start := processorTime(t)
		_, messages := Parse(name, text, Options{})
		if took := processorTime(t) - start; took > time.Second*slack {
			t.Errorf("%s: took %v", name, took)
		}
		if len(messages) > mostMessages+1 {
			t.Errorf("%s: %d messages", name, len(messages))
		}
		if name == "printable" && (len(messages) == 0 || messages[len(messages)-1].Level != Error) {
			t.Errorf("%s: is not refused", name)
		}
	}
}
