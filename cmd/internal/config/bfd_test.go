package config

import (
	"strings"
	"testing"
	"time"
)

// TestBFD: defaults, decimals of milliseconds, and the older spelling.
func TestBFD(t *testing.T) {
	cfg, messages := Parse("x", []byte("bfd_instance a {\nneighbour_ip 10.0.0.2\n}\n"+
		"bfd_instance b {\nneighbor_ip 2001:db8::2\nsource_ip 2001:db8::1\nmin_rx 12.5\nmin_tx 300\nidle_tx 2000\nmultiplier 3\npassive\nttl 9\nhoplimit 255\nmax_hops -1\nweight -20 reverse\nchecker\n}\n"), Options{})
	if len(messages) > 0 {
		t.Fatal(messages)
	}
	a, b := cfg.BFDs[0], cfg.BFDs[1]
	if a.MinRX != 10*time.Millisecond || a.MinTX != a.MinRX || a.IdleTX != time.Second || a.Multiplier != 5 || a.TTL != 255 || a.HopLimit != 64 || a.MaxHops != 0 ||
		a.Passive || a.Multihop || !a.VRRP || !a.Checker || a.Neighbor.String() != "10.0.0.2" {
		t.Errorf("%+v", a)
	}
	if b.MinRX != 12500*time.Microsecond || b.MinTX != 300*time.Millisecond || b.IdleTX != 2*time.Second || b.Multiplier != 3 || !b.Passive || b.TTL != 9 || b.HopLimit != 255 ||
		b.MaxHops != -1 || b.Weight != -20 || !b.Reverse || b.VRRP || !b.Checker {
		t.Errorf("%+v", b)
	}
}

// TestBFDFindings: what keepalived -t complains about in the same file, with the place.
func TestBFDFindings(t *testing.T) {
	const text = `bfd_instance b {
    neighbor_ip 10.0.0.12
    checker
}
bfd_instance v {
    neighbor_ip 10.0.0.13
    vrrp
}
bfd_instance dup {
    neighbor_ip 10.0.0.13
}
bfd_instance none {
    min_tx 0
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    track_bfd {
        b
        v
        later
    }
    virtual_ipaddress {
        10.0.0.100/24
    }
}
virtual_server 10.9.0.1 80 {
    lb_algo rr
    protocol TCP
    real_server 10.0.0.21 80 {
        BFD_CHECK {
            name v
        }
        BFD_CHECK {
            name b
        }
        BFD_CHECK {
            name b
        }
        BFD_CHECK {
        }
    }
}
bfd_instance later {
    neighbor_ip 10.0.0.14
}
bfd_instance near {
    neighbor_ip fe80::1
}
bfd_instance nearer {
    neighbor_ip fe80::1%eth0
}
`
	cfg, messages := Parse("x", []byte(text), Options{})
	var got strings.Builder
	for _, m := range messages {
		if m.Level != Notice {
			got.WriteString(m.String() + "\n")
		}
	}
	const want = `x:10:17: warning: bfd_instance dup: another one above has the neighbour 10.0.0.13 already; this one is ignored
x:12:1: warning: bfd_instance none: has no neighbor_ip; it is ignored
x:13:12: warning: min_tx 0: must be 1 to 4294967 milliseconds; the line is ignored
x:19:9: warning: track_bfd b: no bfd_instance of that name above (the one at line 1 is for checks: it has the word checker); it is ignored
x:21:9: warning: track_bfd later: no bfd_instance of that name above (there is one below, at line 44); it is ignored
x:31:9: warning: BFD_CHECK of 10.0.0.21:80: bfd_instance v has the word vrrp, so checks hear nothing of it; the check is ignored
x:37:9: warning: BFD_CHECK of 10.0.0.21:80: another one has bfd_instance b already; the check is ignored
x:40:9: warning: BFD_CHECK of 10.0.0.21:80: has no name; the check is ignored
x:48:17: warning: bfd_instance near: a link-local neighbour is reached with its interface only, as in fe80::1%eth0
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if in := cfg.Instances[0]; len(in.TrackBFDs) != 1 || len(cfg.VirtualServers[0].RealServers[0].Checks) != 1 || len(cfg.BFDs) != 5 {
		t.Errorf("%v, %d checks, %d sessions", in.TrackBFDs, len(cfg.VirtualServers[0].RealServers[0].Checks), len(cfg.BFDs))
	}
}
