package config

import (
	"strings"
	"testing"
)

// use_vmac takes a MAC of five octets, whose sixth is the VRID; advertisements to peers leave
// by the base interface; vrrp_strict leaves the MAC of the RFC alone.
func TestUseVMACIsCompleted(t *testing.T) {
	for _, tt := range []struct {
		lines, mac string
		base       bool
		told       string
	}{
		{"use_vmac", "", false, ""},
		{"use_vmac mine 0:0:5e:0:1", "", false, "must be five or six octets of a MAC"},
		{"use_vmac mine 00:00:5e:00:01", "00:00:5e:00:01:33", false, ""},
		{"use_vmac 02:AB:00:00:00:01 group 5", "02:ab:00:00:00:01", false, ""},
		{"use_vmac 01:00:5e:00:00:01", "", false, "no group's; the MAC of the VRID is used"},
		{"use_vmac\nvmac_xmit_base", "", true, ""},
		{"use_vmac\nunicast_peer {\n10.0.0.2\n}", "", true, "vmac_xmit_base is added"},
		{"use_vmac 02:00:00:00:00:01\nvmac_xmit_base\nstrict_mode on", "", false, "vrrp_strict forbids vmac_xmit_base"},
		{"vmac_xmit_base", "", false, "vmac_xmit_base is for use_vmac only"},
	} {
		text := "vrrp_instance A {\ninterface eth0\nvirtual_router_id 51\npriority 100\n" + tt.lines + "\nvirtual_ipaddress {\n10.0.0.100/24\n}\n}\n"
		cfg, messages := Parse("s", []byte(text), Options{})
		in, told := cfg.Instances[0], ""
		for _, m := range messages {
			if strings.Contains(m.Text, "vmac") {
				told += m.Text + "\n"
			}
		}
		mac := ""
		if in.UseVMAC != nil {
			mac = in.UseVMAC.MAC
		}
		if mac != tt.mac || in.VMACXmitBase != tt.base || !strings.Contains(told, tt.told) || tt.told == "" && told != "" {
			t.Errorf("%q: MAC %q, base %v, told %q", tt.lines, mac, in.VMACXmitBase, told)
		}
	}
}
