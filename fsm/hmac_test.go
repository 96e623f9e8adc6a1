package fsm

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringkeep/ringkeep/proto"
)

// hmacWall is the clock of the traces: 2024-01-01 00:00 UTC.
const hmacWall = 1704067200 * time.Second

// hmacKey is key number id of the traces.
func hmacKey(id int) []byte {
	return []byte(strings.Repeat(string(rune('a'+id)), 32))
}

// hmac reads the arguments "hmac=MODE window=T monotonic" of the command "new".
func (a args) hmac() *HMAC {
	mode := a.str("hmac", "enforce")
	return &HMAC{
		Keys: map[uint8][]byte{1: hmacKey(1), 2: hmacKey(2)}, Active: 1,
		Send: mode != "receive-only", Enforce: mode == "enforce",
		Window: a.dur("window", 5*time.Second), Monotonic: a.has("monotonic"),
	}
}

// signed appends the trailer, but for the arguments that of key 1 and of the time at
// which the message is received.
func (a args) signed(c Config, msg []byte, src netip.Addr) []byte {
	if c.HMAC == nil && !a.has("signed") || a.has("unsigned") {
		return msg
	}
	id := a.num("id", 1)
	stamp := stampOf(a.dur("sent", a.dur("wall", hmacWall))) + uint64(a.num("counter", 0))
	msg = proto.AppendTrailer(msg, msg, src, uint8(id), stamp, hmacKey(a.num("key", id)))
	if a.has("flip") {
		msg[a.num("flip", 0)] ^= 1
	}
	return msg
}

// A point in time comes back out of a number to 16 µs, and grows with it.
func TestStamps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wall := time.Duration(rapid.Int64Range(0, int64(1<<32-1)*int64(time.Second)).Draw(t, "wall"))
		if d := wall - timeOf(stampOf(wall)); d < 0 || d > 16*time.Microsecond {
			t.Fatalf("%v came back %v less", wall, d)
		}
		if later := stampOf(wall + 16*time.Microsecond); later <= stampOf(wall) {
			t.Fatalf("%v: number %x, 16 µs later %x", wall, stampOf(wall), later)
		}
	})
}

// Numbers of own messages grow, whatever the clock does.
func TestSignedNumbersGrow(t *testing.T) {
	h := &HMAC{Keys: map[uint8][]byte{7: hmacKey(1)}, Active: 7, Send: true}
	rapid.Check(t, func(t *rapid.T) {
		last := uint64(0)
		for range 20 {
			_, _, n, ok := h.Sign(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "wall")), last)
			if !ok || n <= last {
				t.Fatalf("%x after %x", n, last)
			}
			last = n
		}
	})
}

// Whatever is changed of a signed message, but its checksum, which the key does not
// cover: it is refused. As it was, it is accepted once.
func TestHMACCoversTheMessage(t *testing.T) {
	for _, c := range []Config{{Version: 2}, {Version: 3}, {Version: 2, IPv6: true}, {Version: 3, IPv6: true}} {
		cfg := defaultConfig()
		cfg.Version, cfg.HMAC = c.Version, &HMAC{Keys: map[uint8][]byte{1: hmacKey(1)}, Enforce: true, Window: time.Second}
		src := netip.MustParseAddr("10.77.0.2")
		if cfg.IPv6 = c.IPv6; c.IPv6 {
			cfg.Source, cfg.Addrs, src = netip.MustParseAddr("fe80::50"), []netip.Addr{netip.MustParseAddr("fe80::100")}, netip.MustParseAddr("fe80::2")
		}
		packet := func(changed int, by byte) Message {
			v := proto.Advert{Version: cfg.Version, VRID: 51, Priority: 200, Interval: time.Second, Addrs: cfg.Addrs, IPv6: cfg.IPv6}.Append(nil)
			v = proto.AppendTrailer(v, v, src, 1, stampOf(hmacWall), hmacKey(1))
			if changed >= 0 {
				v[changed] ^= by
			}
			form := proto.ChecksumPseudo
			if cfg.Version == 2 {
				form = proto.ChecksumMessage
			}
			var ip []byte
			if cfg.IPv6 {
				proto.SealTrailer(v, src, group6, proto.ChecksumPseudo)
				ip = proto.IPv6Header{HopLimit: 255, NextHeader: proto.ProtocolVRRP, Src: src, Dst: group6}.Append(nil, len(v))
			} else {
				proto.SealTrailer(v, src, group, form)
				ip = proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: src, Dst: group}.Append(nil, len(v))
			}
			return Message{IP: proto.IP(append(ip, v...)), VRRP: v, Wall: hmacWall}
		}
		in := New(cfg)
		whole := packet(-1, 0)
		if v := in.Check(whole); v != Accepted {
			t.Fatalf("version %d, IPv6 %v: %v", cfg.Version, cfg.IPv6, v)
		}
		rapid.Check(t, func(t *rapid.T) {
			at := rapid.IntRange(0, len(whole.VRRP)-1).Draw(t, "at")
			if at == 6 || at == 7 {
				return
			}
			if v := in.Check(packet(at, byte(rapid.IntRange(1, 255).Draw(t, "by")))); v == Accepted {
				t.Fatalf("byte %d may be changed", at)
			}
		})
		in.Step(0, Startup{}, nil)
		in.Step(0, whole.Heard(), nil)
		if v := in.Check(whole); v != Replayed {
			t.Errorf("version %d, IPv6 %v, again: %v", cfg.Version, cfg.IPv6, v)
		}
	}
}

// Senders with a key are few; more of them than are remembered forget the one that was
// silent for longest.
func TestStampsAreBounded(t *testing.T) {
	var s stamps
	for i := range 10 * mostStamps {
		s.note(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint64(i+1))
	}
	if len(s.list) != mostStamps || s.last(netip.AddrFrom4([4]byte{10, 0, 0, 1})) != 0 || s.last(netip.AddrFrom4([4]byte{10, 0, 2, 127})) != 640 {
		t.Errorf("%d are kept: %v", len(s.list), s.list)
	}
}

// A flood of signed messages allocates nothing.
func TestHMACAllocatesNothing(t *testing.T) {
	cfg := defaultConfig()
	cfg.HMAC = &HMAC{Keys: map[uint8][]byte{1: hmacKey(1)}, Enforce: true, Window: time.Second}
	src := netip.MustParseAddr("10.77.0.2")
	v := proto.Advert{Version: 2, VRID: 51, Priority: 200, Interval: time.Second, Addrs: cfg.Addrs}.Append(nil)
	v = proto.AppendTrailer(v, v, src, 1, stampOf(hmacWall), hmacKey(1))
	proto.SealTrailer(v, src, group, proto.ChecksumMessage)
	ip := proto.IPv4Header{TTL: 255, Protocol: proto.ProtocolVRRP, Src: src, Dst: group}.Append(nil, len(v))
	m, in := Message{IP: proto.IP(append(ip, v...)), VRRP: v, Wall: hmacWall}, New(cfg)
	if n := testing.AllocsPerRun(100, func() { in.Check(m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if v := in.Check(m); v != Accepted {
		t.Errorf("measured %v", v)
	}
}
