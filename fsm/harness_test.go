package fsm

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/ringkeep/ringkeep/proto"
)

// rig is an instance under a script. The one of the conformance tests is VRID 51 on
// 10.77.0.50, version 2, priority 100, 1 s, address 10.77.0.100, preempting.
type rig struct {
	t   *testing.T
	in  *Instance
	now time.Duration
	cfg Config
}

func defaultConfig() Config {
	return Config{
		Name: "VI_1", VRID: 51, Version: 2, Priority: 100, Interval: time.Second,
		Source: netip.MustParseAddr("10.77.0.50"), Addrs: []netip.Addr{netip.MustParseAddr("10.77.0.100")},
		GARPRepeat: 5, GARPDelay: 5 * time.Second, GARPRefreshRepeat: 1,
		GARPLowerPrioRepeat: 5, GARPLowerPrioDelay: 5 * time.Second,
	}
}

// args gives typed access to the arguments of a command.
type args struct {
	t    *testing.T
	d    *datadriven.TestData
	vals map[string][]string
}

func newArgs(t *testing.T, d *datadriven.TestData) args {
	a := args{t, d, map[string][]string{}}
	for _, c := range d.CmdArgs {
		a.vals[c.Key] = append(a.vals[c.Key], c.Vals...)
		if len(c.Vals) == 0 {
			a.vals[c.Key] = []string{}
		}
	}
	return a
}

func (a args) has(key string) bool { _, ok := a.vals[key]; return ok }

func (a args) str(key, otherwise string) string {
	if v := a.vals[key]; len(v) > 0 {
		return v[0]
	}
	return otherwise
}

func (a args) num(key string, otherwise int) int {
	if !a.has(key) {
		return otherwise
	}
	n, err := strconv.ParseInt(a.str(key, ""), 0, 64)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return int(n)
}

func (a args) dur(key string, otherwise time.Duration) time.Duration {
	if !a.has(key) {
		return otherwise
	}
	v, err := time.ParseDuration(a.str(key, ""))
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return v
}

// addr reads an address; ".2" is short for 10.77.0.2 and "none" is the zero value.
func (a args) addr(key, otherwise string) netip.Addr { return a.parseAddr(a.str(key, otherwise)) }

func (a args) addrs(key string, otherwise []netip.Addr) []netip.Addr {
	if !a.has(key) {
		return otherwise
	}
	list := []netip.Addr{}
	for _, s := range a.vals[key] {
		if s == "" { // "key=()"
			continue
		}
		list = append(list, a.parseAddr(s))
	}
	return list
}

func (a args) parseAddr(s string) netip.Addr {
	if s == "none" {
		return netip.Addr{}
	}
	if strings.HasPrefix(s, ".") {
		s = "10.77.0" + s
	}
	v, err := netip.ParseAddr(s)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return v
}

// config reads the arguments of the command "new".
func (a args) config() Config {
	c := defaultConfig()
	c.Version, c.VRID = uint8(a.num("version", int(c.Version))), uint8(a.num("vrid", int(c.VRID)))
	c.Priority = uint8(a.num("priority", int(c.Priority)))
	c.Interval = a.dur("interval", c.Interval)
	c.NoPreempt, c.StateMaster, c.Unicast = a.has("nopreempt"), a.has("state-master"), a.has("unicast")
	for _, peer := range a.addrs("peers", nil) {
		c.Unicast = true
		c.Senders = append(c.Senders, Sender{Addr: peer, MinTTL: uint8(a.num("min-ttl", 0)), MaxTTL: uint8(a.num("max-ttl", 255))})
	}
	c.PreemptDelay, c.StartupDelay = a.dur("preempt-delay", 0), a.dur("startup-delay", 0)
	c.DownTimerAdverts = a.num("down-timer-adverts", 0)
	c.HigherPrioSendAdvert, c.LowerPrioNoAdvert = a.has("higher-prio-send-advert"), a.has("lower-prio-no-advert")
	c.SkipCheckAdvAddr = a.has("skip-check-adv-addr")
	c.TimerExpiredBackup = uint8(a.num("timer-expired-backup", 0))
	if c.IPv6 = a.has("ipv6"); c.IPv6 {
		c.Version, c.Source, c.Addrs = uint8(a.num("version", 3)), netip.MustParseAddr("fe80::50"), []netip.Addr{netip.MustParseAddr("fe80::100"), netip.MustParseAddr("2001:db8::100")}
	}
	c.Group, c.NoPeer = a.addr("group", "none"), a.has("no-peer")
	c.OldUnicastChecksum = a.has("old-checksum")
	c.MessageChecksum, c.OwnerIgnoreAdverts = a.has("message-checksum"), a.has("owner-ignore-adverts")
	if a.has("hmac") {
		c.HMAC = a.hmac()
	}
	c.Source = a.addr("source", c.Source.String())
	c.Addrs, c.Excluded = a.addrs("vips", c.Addrs), a.addrs("excluded", nil)
	c.GARPRepeat, c.GARPDelay = a.num("garp", c.GARPRepeat), a.dur("garp-delay", c.GARPDelay)
	c.GARPLowerPrioRepeat, c.GARPLowerPrioDelay = a.num("garp-lower", c.GARPLowerPrioRepeat), a.dur("garp-lower-delay", c.GARPLowerPrioDelay)
	c.GARPRefresh, c.GARPRefreshRepeat = a.dur("refresh", 0), a.num("refresh-repeat", 1)
	if a.has("password") {
		c.AuthType = 1
		copy(c.Auth[:], a.str("password", ""))
	}
	if a.has("ah") {
		c.AuthType = proto.VRRPAuthAH
		copy(c.Auth[:], a.str("ah", ""))
	}
	for _, s := range a.vals["track"] {
		c.Trackers = append(c.Trackers, a.tracker(s))
	}
	return c
}

// tracker reads "name/weight", then "/reverse", "/up", "/down" or "/file" in any order.
func (a args) tracker(s string) Tracker {
	parts := strings.Split(s, "/")
	t := Tracker{Name: parts[0], Kind: "script"}
	for _, p := range parts[1:] {
		switch p {
		case "up":
			t.Initial = Up
		case "down":
			t.Initial = Down
		case "reverse":
			t.Reverse = true
		case "file":
			t.Kind, t.Number, t.Initial = "file", true, Up
		default:
			w, err := strconv.Atoi(p)
			if err != nil {
				a.d.Fatalf(a.t, "tracker %q: %v", s, err)
			}
			t.Weight = w
		}
	}
	return t
}

// message builds the packet of the commands "receive" and "feed": a good one of
// 10.77.0.2 with priority 200, but for the arguments.
func (a args) message(c Config) Message {
	if c.IPv6 {
		return a.message6(c)
	}
	dst := c.group().String()
	if c.Unicast {
		dst = c.Source.String()
	}
	h := proto.IPv4Header{
		TOS: proto.VRRPTOS, TTL: uint8(a.num("ttl", 255)), Protocol: uint8(a.num("protocol", int(proto.ProtocolVRRP))),
		Src: a.addr("src", ".2"), Dst: a.addr("dst", dst),
	}
	msg := a.signed(c, a.advert(c, h.Src, h.Dst), h.Src)
	ip := append(h.Append(nil, len(msg)), msg...)
	if c.AuthType == proto.VRRPAuthAH && h.Protocol == proto.ProtocolVRRP && !a.has("bare") {
		ip = a.authenticated(c, h, msg)
	}
	if a.has("padding") { // as a NIC fills a short frame up
		ip = append(ip, "garbage!"...)
	}
	p, err := proto.ParseIPv4(ip)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	if a.has("damaged") { // the identification, which the header checksum covers
		p[4] ^= 1
	}
	if a.has("fragment") { // more fragments, and the header checksum for it
		p[6] ^= 0x20
		sum := proto.UpdateChecksum(p.Checksum(), 0, 0x2000)
		p[10], p[11] = byte(sum>>8), byte(sum)
	}
	m := messageIn(proto.IP(p))
	m.Wall = a.dur("wall", hmacWall)
	return m
}

// authenticated puts the authentication header before the message. With tos or "flip"
// the packet is changed afterwards, as on its way.
func (a args) authenticated(c Config, h proto.IPv4Header, msg []byte) []byte {
	h.Protocol = proto.ProtocolAH
	ip := h.Append(nil, proto.AHLen+len(msg))
	ip = proto.AppendAH(ip, a.addr("spi", h.Src.String()), uint32(a.num("sequence", 1)))
	ip = append(ip, msg...)
	key := c.Auth
	if a.has("key") {
		key = [8]byte{}
		copy(key[:], a.str("key", ""))
	}
	proto.SealAH(ip, key, c.Unicast != a.has("other-ttl"))
	if a.has("flip") {
		ip[a.num("flip", 0)] ^= 1
	}
	if a.has("tos") { // and the header checksum for it
		sum := proto.UpdateChecksum(proto.IPv4(ip).Checksum(), 0x4500|uint16(h.TOS), 0x4500|uint16(a.num("tos", 0)))
		ip[1], ip[10], ip[11] = byte(a.num("tos", 0)), byte(sum>>8), byte(sum)
	}
	return ip
}

// message6 is the same over IPv6: of fe80::2.
func (a args) message6(c Config) Message {
	dst := c.group().String()
	if c.Unicast {
		dst = c.Source.String()
	}
	h := proto.IPv6Header{
		TrafficClass: proto.VRRPTOS, HopLimit: uint8(a.num("ttl", 255)), NextHeader: uint8(a.num("protocol", int(proto.ProtocolVRRP))),
		Src: a.addr("src", "fe80::2"), Dst: a.addr("dst", dst),
	}
	msg := a.signed(c, a.advert(c, h.Src, h.Dst), h.Src)
	if c.HMAC != nil && !a.has("unsigned") {
		proto.SealTrailer(msg, h.Src, h.Dst, proto.ChecksumPseudo)
	}
	p, err := proto.ParseIP(append(h.Append(nil, len(msg)), msg...))
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return Message{IP: p, VRRP: proto.VRRP(p.Payload()), Wall: a.dur("wall", hmacWall)}
}

// advert builds the message for a packet.
func (a args) advert(c Config, src, dst netip.Addr) []byte {
	adv := proto.Advert{
		Version: uint8(a.num("version", int(c.Version))), VRID: uint8(a.num("vrid", int(c.VRID))),
		Priority: uint8(a.num("priority", 200)), AuthType: uint8(a.num("auth", int(c.AuthType))),
		Interval: a.dur("interval", c.Interval), Addrs: a.addrs("addrs", c.Addrs), IPv6: c.IPv6,
	}
	if c.AuthType == proto.VRRPAuthPass {
		adv.Auth = c.Auth
	}
	if a.has("password") {
		adv.Auth = [8]byte{}
		copy(adv.Auth[:], a.str("password", ""))
	}
	msg := adv.Append(nil)
	msg[0] = msg[0]&0xf0 | uint8(a.num("type", 1))
	msg[3] = uint8(a.num("count", int(msg[3])))
	msg[4] |= uint8(a.num("reserved", 0)) << 4
	msg = append(msg, make([]byte, a.num("surplus", 0))...)
	msg = msg[:len(msg)-a.num("cut", 0)]
	form := proto.ChecksumMessage
	if (adv.Version == 3 || c.IPv6) && a.str("checksum", "") != "message" {
		form = proto.ChecksumPseudo
	}
	if a.str("checksum", "") == "group" { // as keepalived up to 1.3.6 did for unicast
		dst = group
	}
	proto.SealVRRP(msg, src, dst, form)
	if a.str("checksum", "") == "bad" {
		msg[7] ^= 1
	}
	return msg
}

// step runs one event and prints what came of it.
func (r *rig) step(ev Event, out *strings.Builder) {
	last, times := "", 0
	flush := func() {
		if times > 1 {
			last += fmt.Sprintf(" ×%d", times)
		}
		if times > 0 {
			fmt.Fprintln(out, last)
		}
		times = 0
	}
	for _, a := range r.in.Step(r.now, ev, nil) {
		line := a.String()
		if c, ok := a.(Changed); ok {
			line += "\n  because " + c.Cause.String()
		}
		if line != last {
			flush()
		}
		last, times = line, times+1
	}
	flush()
}

// deadline prints what the instance waits for.
func (r *rig) deadline(out *strings.Builder) {
	if at, ok := r.in.Deadline(); ok {
		fmt.Fprintf(out, "deadline %s\n", at)
	} else {
		fmt.Fprintln(out, "no deadline")
	}
}

// run lets time pass until end, with a tick at every deadline.
func (r *rig) run(end time.Duration, out *strings.Builder) {
	for {
		at, ok := r.in.Deadline()
		if !ok || at > end {
			break
		}
		if at < r.now {
			r.t.Fatalf("deadline %s is before now, %s", at, r.now)
		}
		r.now = at
		fmt.Fprintf(out, "at %s\n", at)
		r.step(Tick{}, out)
	}
	r.now = end
}

// receive judges a message and lets the instance hear an accepted one.
func (r *rig) receive(m Message, out *strings.Builder) {
	if v := r.in.Check(m); v != Accepted {
		fmt.Fprintf(out, "refused: %s\n", v)
		return
	}
	if remarks := r.in.Remark(m); remarks != 0 {
		fmt.Fprintf(out, "remark: %s\n", remarks)
	}
	r.step(m.Heard(), out)
}

// feed repeats a message from now on, every so often until the end, both included.
func (r *rig) feed(a args, out *strings.Builder) {
	m, every, until := a.message(r.cfg), a.dur("every", time.Second), a.dur("until", 0)
	sequence := a.num("sequence", 1)
	for at := a.dur("at", r.now); at <= until; at += every {
		if r.cfg.AuthType == proto.VRRPAuthAH {
			a.vals["sequence"] = []string{strconv.Itoa(sequence)}
			m = a.message(r.cfg)
			sequence++
		}
		r.run(at, out)
		var heard strings.Builder
		r.receive(m, &heard)
		if heard.Len() > 0 {
			fmt.Fprintf(out, "heard at %s\n%s", r.now, heard.String())
		}
	}
	fmt.Fprintf(out, "%s ", r.in.State())
	r.deadline(out)
}

// event reads the commands that are one event.
func (r *rig) event(a args) (Event, bool) {
	switch a.d.Cmd {
	case "startup":
		return Startup{}, true
	case "shutdown":
		return Shutdown{}, true
	case "tick":
		return Tick{}, true
	case "link":
		return LinkChanged{Up: a.has("up")}, true
	case "source":
		return SourceChanged{Addr: a.addr("addr", "none")}, true
	case "vip-lost":
		return VIPLost{Addr: a.addr("addr", "none")}, true
	case "tracked":
		return Tracked{Kind: "script", Name: a.str("name", ""), Up: a.has("up")}, true
	case "number":
		return Numbered{Kind: "file", Name: a.str("name", ""), Value: a.num("value", 0)}, true
	}
	return nil, false
}

// command runs one command of a trace. Its time is given with at=; the time between
// passes without ticks, unless "run" lets it pass.
func (r *rig) command(t *testing.T, d *datadriven.TestData) string {
	a := newArgs(t, d)
	var out strings.Builder
	if d.Cmd != "feed" {
		r.now = a.dur("at", r.now)
	}
	if ev, ok := r.event(a); ok {
		r.step(ev, &out)
		r.deadline(&out)
		return out.String()
	}
	switch d.Cmd {
	case "new":
		r.cfg = a.config()
		r.in, r.now = New(r.cfg), 0
		fmt.Fprintf(&out, "%s priority=%d\n", r.in.State(), r.in.Priority())
	case "run":
		r.run(a.dur("until", 0), &out)
	case "receive":
		r.receive(a.message(r.cfg), &out)
		r.deadline(&out)
	case "feed":
		r.feed(a, &out)
	case "quiet": // bring it to MASTER without the lines of that
		r.quiet(&out)
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return out.String()
}

// quiet starts the instance and lets time pass until it is MASTER.
func (r *rig) quiet(out *strings.Builder) {
	var unseen strings.Builder
	r.step(Startup{}, &unseen)
	for r.in.State() != Master {
		at, ok := r.in.Deadline()
		if !ok {
			r.t.Fatalf("%s without a deadline", r.in.State())
		}
		r.run(at, &unseen)
	}
	fmt.Fprintf(out, "MASTER at %s\n", r.now)
}

// The traces in testdata are the conformance tests of the state machine.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			r := &rig{t: t}
			datadriven.RunTest(t, path, r.command)
		})
	}
}
