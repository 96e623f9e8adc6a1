package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// mailed is the mails in the log of node 0.
func mailed(w *world) string {
	var list []string
	for _, l := range w.log {
		if _, what, ok := strings.Cut(l, " 0 mail "); ok {
			list = append(list, what)
		}
	}
	w.log = nil
	return strings.Join(list, "; ")
}

// Reference 4.5: which transitions are mailed, of whom, and that a state is not mailed
// twice in a row; without a relay, or without recipients, nobody is written to.
func TestMails(t *testing.T) {
	const instance, group = "VRRP Instance VI_1 - ", "VRRP Group VG_1 - "
	for _, tt := range []struct {
		name   string
		change func(*config.Config)
		want   []string // at the start, the link's loss and return, the election, the stop
	}{
		{"of the instance", func(c *config.Config) { c.Instances[0].SMTPAlert = true }, []string{
			instance + "Entering BACKUP state", instance + "Entering FAULT state", instance + "Entering BACKUP state",
			instance + "Entering MASTER state", instance + "Stopping",
		}},
		{"without faults", func(c *config.Config) { c.Instances[0].SMTPAlert, c.Global.NoEmailFaults = true, true }, []string{
			instance + "Entering BACKUP state", "", "", instance + "Entering MASTER state", instance + "Stopping",
		}},
		{"of the group", func(c *config.Config) { c.SyncGroups[0].SMTPAlert = true }, []string{
			group + "Entering BACKUP state", group + "Entering FAULT state", group + "Entering BACKUP state",
			group + "Entering MASTER state", group + "Stopping",
		}},
		{"nobody asked", func(*config.Config) {}, make([]string, 5)},
		{"no relay", func(c *config.Config) { c.Instances[0].SMTPAlert, c.Global.SMTPServer.Host = true, "" }, make([]string, 5)},
		{"no recipient", func(c *config.Config) { c.Instances[0].SMTPAlert, c.Global.NotificationEmail = true, nil }, make([]string, 5)},
	} {
		cfg := pairOf(150)
		cfg.Global.SMTPServer, cfg.Global.NotificationEmail = config.MailServer{Host: "192.0.2.1", Port: 25}, config.Names{"a@b"}
		tt.change(cfg)
		w := newWorld(t, cfg)
		w.start(0)
		got := []string{mailed(w)}
		w.step(0, LinkChanged{Port: 1, MAC: macOf(0)})
		got = append(got, mailed(w))
		w.step(0, LinkChanged{Port: 1, MAC: macOf(0), Up: true})
		got = append(got, mailed(w))
		w.run(w.now + 5*time.Second)
		got = append(got, mailed(w))
		w.step(0, Stop{})
		if got = append(got, mailed(w)); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// As observed at keepalived 2.2.7: what the instance says of notify_priority_changes
// counts, then what its group says, then global_defs.
func TestWhosePriorityChangesAreTold(t *testing.T) {
	const instance = "vrrp_instance A {\n interface eth0\n virtual_router_id 1\n virtual_ipaddress { 10.0.0.100 }\n track_file {\n f\n }\n"
	for _, tt := range []struct {
		global, own, group string
		want               bool
	}{
		{"on", "", "", true},
		{"on", "on", "off", true},
		{"on", "off", "on", false},
		{"on", "", "off", false},
		{"on", "", "on", true},
		{"off", "", "", false},
		{"off", "on", "", true},
		{"off", "on", "off", true},
		{"off", "", "on", true},
		{"off", "off", "on", false},
	} {
		text := "global_defs {\n vrrp_notify_priority_changes " + tt.global + "\n}\ntrack_file f {\n file /f\n weight 1\n}\n" + instance
		if tt.own != "" {
			text += " notify_priority_changes " + tt.own + "\n"
		}
		text += "}\nvrrp_sync_group G {\n group {\n A\n }\n sync_group_tracking_weight\n"
		if tt.group != "" {
			text += " notify_priority_changes " + tt.group + "\n"
		}
		cfg, messages := config.Parse("c.conf", []byte(text+"}\n"), config.Options{})
		n := newWorld(t, cfg).nodes[0]
		n.Step(0, FileRead{File: 0, Value: 0}, nil)
		n.Step(0, Start{}, nil)
		told := false
		for _, a := range n.Step(time.Millisecond, FileRead{File: 0, Value: 5}, nil) {
			if l, ok := a.(Line); ok {
				told = told || l.Text == `INSTANCE "A" BACKUP_PRIORITY 105`
			}
		}
		if told != tt.want {
			t.Errorf("%+v: told %v; %v", tt, told, messages)
		}
	}
}
