package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestDiff holds the difference of two files against the text behind them, and that no
// file differs from itself.
func TestDiff(t *testing.T) {
	paths, _ := filepath.Glob("testdata/diff/*.txtar")
	if len(paths) == 0 {
		t.Fatal("no files")
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var cfgs []*Config
		for _, f := range a.Files[:2] {
			cfg, messages := Parse(f.Name, f.Data, Options{})
			for _, m := range messages {
				if m.Level == Error {
					t.Error(m)
				}
			}
			again, _ := Parse(f.Name, append([]byte("\n\n"), f.Data...), Options{})
			if d := Diff(cfg, again); len(d) > 0 {
				t.Errorf("%s: %s differs from itself: %v", path, f.Name, d)
			}
			cfgs = append(cfgs, cfg)
		}
		var b strings.Builder
		for _, c := range Diff(cfgs[0], cfgs[1]) {
			fmt.Fprintln(&b, c)
		}
		want := &a.Files[2]
		if *rewrite {
			want.Data = []byte(b.String())
			if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if b.String() != string(want.Data) {
			t.Errorf("%s: got\n%s\nwant\n%s", path, b.String(), want.Data)
		}
	}
}

// TestUnfit: a daemon that runs takes no error, and no warning that is new to it.
func TestUnfit(t *testing.T) {
	const good = "vrrp_instance A {\n interface eth0\n virtual_router_id 51\n virtual_ipaddress {\n 10.0.0.1\n }\n}\n"
	const one = "virtual_server 10.0.0.1 80 {\n @ringkeep dataplane ipvs\n lvs_method NAT\n protocol TCP\n real_server 10.0.0.7 80 {\n }\n}\n"
	twice := "virtual_server_group G {\n 10.0.0.1 80\n}\n" + one + strings.Replace(one, "10.0.0.1 80", "group G", 1) // whose warning names another line
	for _, c := range []struct {
		before, now, want string
	}{
		{good, good, ""},
		{good, good + "nonsense\n", `b.conf:8:1: warning: unknown keyword "nonsense"`},
		{good + "nonsense\n", "\n" + good + "nonsense\n", ""},
		{good + twice, "\n" + good + twice, ""},
		{good + "nonsense\n", "global_defs {\n reload_check_config\n}\n" + good + "nonsense\n", `b.conf:11:1: warning: unknown keyword "nonsense"`},
		{good, strings.Replace(good, "virtual_ipaddress {", "virtual_ipaddress", 1), "b.conf:"},
		{good, "vrrp_instance A {\n priority\n", "b.conf:"},
	} {
		running, before := Parse("a.conf", []byte(c.before), Options{})
		cfg, found := Parse("b.conf", []byte(c.now), Options{})
		err := cfg.Unfit(found, running, before)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q after %q: %v", c.now, c.before, err)
		}
	}
}
