package replay

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/model"
)

const captures = "../../../proto/testdata/captures/"

// conf6 is VRID 51 over IPv6 with more lines in its block.
func conf6(lines string) string {
	return "vrrp_instance VI_1 {\n version 3\n interface eth0\n virtual_router_id 51\n virtual_ipaddress {\n fe80::77:100/64\n 2001:db8:77::100/64\n }\n" + lines + "\n}\n"
}

// frr is what a director would be in the place of FRR: one announcement of an address.
const frr = `vrrp_instance V4 {
	version 3
	interface eth0
	virtual_router_id 5
	priority 200
	garp_master_repeat 1
	garp_master_delay 0
	virtual_ipaddress { 10.77.0.105 }
}
vrrp_instance V6 {
	version 3
	interface eth0
	virtual_router_id 5
	priority 200
	garp_master_repeat 1
	garp_master_delay 0
	virtual_ipaddress { 2001:db8:77::105 }
}
`

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// Recordings over IPv6. That of the lab is of two of keepalived, priority 150 and 100, 1 s:
// the better one loses power, returns and is stopped.
func TestRecordingsOverIPv6(t *testing.T) {
	const lab = "testdata/keepalived-ipv6.pcapng"
	second := 10286 * time.Millisecond // the start of its second life
	for _, c := range []struct {
		name, file, conf string
		place            model.Place
		start            *time.Duration
		adverts, garps   int
		want             string // the first difference
		number           int    // its packet
	}{
		{"start to stop", captures + "ka227-v3-ipv6.pcap", conf6("priority 100"), model.Place{Own: addrs("fe80::ff:fe00:7701")}, nil, 7, 20, "", 0},
		{"unicast", captures + "ka227-v3-ipv6-unicast.pcap", conf6("unicast_src_ip 2001:db8:77::1\nunicast_peer {\n2001:db8:77::2\n}"), model.Place{Own: addrs("2001:db8:77::1")}, nil, 2, 10, "", 0},
		{"killed", captures + "session-v3-ipv6-10cs.pcap", conf6("priority 150\nadvert_int 0.1"), model.Place{Own: addrs("fe80::ff:fe00:7701")}, nil, 12, 10,
			"expected advertisement of VRID 51, priority 150, to ff02::12; seen nothing", 29},
		// keepalived announces 5 s after it became MASTER, of its term before: a delayed
		// announcement outlives the term. Ours ends with it.
		{"late announcement", captures + "session-v3-ipv6-10cs.pcap", conf6("priority 100\nadvert_int 0.1"), model.Place{Own: addrs("fe80::ff:fe00:7702")}, nil, 41, 20,
			"expected nothing; seen neighbour advertisement of fe80::77:100", 124},
		// FRR cannot bind at once over IPv6, and is silent for an interval. Over IPv4 it
		// agrees: families of one VRID are apart.
		{"FRR", captures + "frr84-v3-ipv4-ipv6.pcap", frr, model.Place{Own: addrs("10.77.0.1", "fe80::200:5eff:fe00:205")}, nil, 5, 2,
			"expected advertisement of VRID 5, priority 200, to ff02::12; seen nothing", 14},
		{"the lab's BACKUP", lab, conf6("priority 100"), model.Place{Node: "b"}, nil, 14, 40, "", 0},
		{"the lab's MASTER", lab, conf6("priority 150"), model.Place{Node: "a"}, nil, 2, 10,
			"expected advertisement of VRID 51, priority 150, to ff02::12; seen nothing", 23},
		{"its second life", lab, conf6("priority 150"), model.Place{Node: "a"}, &second, 8, 20, "", 0},
	} {
		r, err := Run(filepath.FromSlash(c.file), parse(t, c.conf), Options{Place: c.place, Tolerance: 50 * time.Millisecond, Start: c.start})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, number := "", 0
		if r.Difference != nil {
			got, number = told(r.Difference), r.Difference.Number
		}
		if got != c.want || number != c.number || r.Adverts != c.adverts || r.GARPs != c.garps {
			t.Errorf("%s: %d advertisements and %d announcements agree, packet %d: %s", c.name, r.Adverts, r.GARPs, number, got)
		}
	}
}

// Without a link-local address nobody advertises over IPv6, whatever else a link has.
func TestLinkLocalAddressIsNamed(t *testing.T) {
	_, err := Run(captures+"ka227-v2-noauth.pcap", parse(t, conf6("")), Options{Place: model.Place{Own: addrs("2001:db8::1")}, Tolerance: time.Millisecond})
	if err == nil || err.Error() != "the capture does not show the address of eth0: name it with --own" {
		t.Errorf("got %v", err)
	}
}

// A report of MLD may be of several groups, and of either version.
func TestMembershipReportsOverIPv6(t *testing.T) {
	head := func(payload ...byte) []byte {
		f := append(make([]byte, 12), 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(payload)), 0, 1)
		return append(append(f, make([]byte, 32)...), payload...)
	}
	record := func(kind, group byte) []byte {
		return []byte{kind, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, group}
	}
	options := []byte{58, 0, 5, 2, 0, 0, 1, 0}
	join := func(b ...[]byte) []byte {
		all := options
		for _, p := range b {
			all = append(all[:len(all):len(all)], p...)
		}
		return all
	}
	v2 := []byte{143, 0, 0, 0, 0, 0, 0, 2}
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"the second group": {head(join(v2, record(4, 1), record(4, 0x12))...), true},
		"a group is left":  {head(join(v2, record(4, 1), record(3, 0x12))...), false},
		"other groups":     {head(join(v2, record(4, 1), record(4, 2))...), false},
		"version 1":        {head(join([]byte{131, 0, 0, 0, 0, 0, 0, 0}, record(0, 0x12)[4:])...), true},
		"version 1, done":  {head(join([]byte{132, 0, 0, 0, 0, 0, 0, 0}, record(0, 0x12)[4:])...), false},
		"cut":              {head(join(v2, record(4, 0x12)[:19])...), false},
		"options only":     {head(options...), false},
		"options too long": {head(58, 9, 0, 0, 0, 0, 0, 0), false},
		"no hop-by-hop":    {head(), false},
		"not of IPv6":      {make([]byte, 60), false},
	} {
		if got := joins6(c.frame); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
