package node

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// Why says in one line what is wrong with a refused message, and behind a semicolon what
// to change.
func (h Hearing) Why() string {
	what, change := h.what()
	if change == "" {
		return what
	}
	return what + "; " + change
}

func (h Hearing) what() (what, change string) {
	in, src := h.Instance, h.IP.Src()
	switch h.Verdict {
	case fsm.BadIPChecksum:
		return fmt.Sprintf("the IP header from %s is damaged", src), "look for a faulty card or cable"
	case fsm.Fragmented:
		return fmt.Sprintf("%s sends it in fragments", src), "list fewer addresses, or raise the MTU there"
	case fsm.BadSource:
		return fmt.Sprintf("no host can have the address %s", src), ""
	case fsm.OwnSource:
		return fmt.Sprintf("another host sends with %s, the source of %s", src, in.Name), "give one of them another address"
	case fsm.WrongDestination:
		return h.whereTo()
	case fsm.BadTTL:
		return h.howFar()
	case fsm.UnknownSender:
		return fmt.Sprintf("%s is no unicast_peer of %s", src, in.Name), "add it there, or stop it from sending here"
	case fsm.OwnerDeaf:
		return fmt.Sprintf("%s has priority 255 and owner_ignore_adverts, and %s sends priority %d", in.Name, src, h.VRRP.Priority()), "only one node may own the addresses"
	case fsm.WrongProtocol, fsm.WrongAuthType, fsm.WrongPassword, fsm.WrongICV, fsm.WrongSPI, fsm.Replayed, fsm.NoTrailer, fsm.WrongKey, fsm.Stale:
		return h.whoIsIt()
	}
	return h.whatSays()
}

// whatSays is about the message itself.
func (h Hearing) whatSays() (what, change string) {
	in, src, v := h.Instance, h.IP.Src(), h.VRRP
	switch h.Verdict {
	case fsm.WrongVersion:
		return fmt.Sprintf("%s speaks version %d, %s version %d", src, v.Version(), in.Name, in.Version), "set the same vrrp_version, or version, on both nodes"
	case fsm.WrongType:
		return fmt.Sprintf("%s sends type %d, only 1 is an advertisement", src, v.Type()), ""
	case fsm.BadLength:
		return h.howLong()
	case fsm.BadChecksum:
		if in.Unicast() && in.Version == 3 && !h.IP.Is6() {
			return fmt.Sprintf("the message from %s is damaged, or summed as keepalived up to 1.3.6 did", src), "for that, set old_unicast_checksum here"
		}
		return fmt.Sprintf("the message from %s is damaged", src), "look for a faulty card or program there"
	case fsm.NoAddresses:
		return fmt.Sprintf("%s lists no address", src), "give it the virtual_ipaddress of " + in.Name
	case fsm.WrongInterval:
		return fmt.Sprintf("%s sends every %s, %s every %s", src, v.Interval(), in.Name, in.AdvertInterval), "set the same advert_int on both nodes"
	case fsm.ZeroInterval:
		return fmt.Sprintf("%s says that its interval is 0", src), "set advert_int there to 0.01 or more"
	}
	return h.Verdict.String(), ""
}

func (h Hearing) howLong() (what, change string) {
	want := 0
	if len(h.VRRP) >= 8 {
		want = h.Size()
	}
	switch surplus := len(h.VRRP) - want; {
	case want == 0:
		return fmt.Sprintf("the message from %s is too short: %d bytes", h.IP.Src(), len(h.VRRP)), ""
	case surplus == proto.VRRPTrailerLen:
		return fmt.Sprintf("the message from %s is too long by what auth_hmac adds", h.IP.Src()), "set auth_hmac on both nodes or on none"
	case surplus > 0:
		return fmt.Sprintf("the message from %s is too long: %d bytes for %d addresses, of %d", h.IP.Src(), len(h.VRRP), h.VRRP.Count(), want), ""
	}
	return fmt.Sprintf("the message from %s is too short: %d bytes for %d addresses, of %d", h.IP.Src(), len(h.VRRP), h.VRRP.Count(), want), ""
}

func (h Hearing) whereTo() (what, change string) {
	in, src, dst := h.Instance, h.IP.Src(), h.IP.Dst()
	switch {
	case in.Unicast():
		return fmt.Sprintf("%s sends to the group %s, %s has unicast peers", src, dst, in.Name), "set unicast_peer on both nodes or on none"
	case dst.IsMulticast():
		return fmt.Sprintf("%s sends to the group %s, %s hears another", src, dst, in.Name), "set the same mcast_dst_ip, or vrrp_mcast_group4 and vrrp_mcast_group6, on both nodes"
	}
	return fmt.Sprintf("%s sends to the host %s, %s hears its group", src, dst, in.Name), "set unicast_peer on both nodes or on none"
}

func (h Hearing) howFar() (what, change string) {
	what = fmt.Sprintf("from %s with TTL %d", h.IP.Src(), h.IP.TTL())
	if h.Instance.Unicast() {
		return what + ", which its line in unicast_peer excludes", "correct min_ttl and max_ttl there"
	}
	return what + ": it came through a router, or is forged", "put both nodes on one link, or use unicast_peer"
}

// whoIsIt is about authentication.
func (h Hearing) whoIsIt() (what, change string) {
	in, src := h.Instance, h.IP.Src()
	const both = "set the same auth_type on both nodes"
	switch h.Verdict {
	case fsm.WrongProtocol:
		if in.AuthType == "AH" {
			return fmt.Sprintf("%s sends no authentication header, %s has auth_type AH", src, in.Name), both
		}
		return fmt.Sprintf("%s sends an authentication header, %s has auth_type %s", src, in.Name, authName(in.AuthType)), both
	case fsm.WrongAuthType:
		theirs := fmt.Sprint(h.VRRP.AuthType())
		if name, ok := map[uint8]string{proto.VRRPAuthNone: "none", proto.VRRPAuthPass: "PASS", proto.VRRPAuthAH: "AH"}[h.VRRP.AuthType()]; ok {
			theirs = name
		}
		return fmt.Sprintf("%s has auth_type %s, %s has %s", src, theirs, in.Name, authName(in.AuthType)), both
	case fsm.WrongPassword:
		return fmt.Sprintf("%s has another auth_pass than %s", src, in.Name), "set the same auth_pass on both nodes"
	case fsm.WrongICV:
		return fmt.Sprintf("%s has another auth_pass than %s, or the packet was changed on its way", src, in.Name), "set the same auth_pass, and unicast_peer on both nodes or on none"
	case fsm.WrongSPI:
		return fmt.Sprintf("the authentication header from %s names another sender", src), "let no router translate addresses between the nodes"
	case fsm.NoTrailer:
		return fmt.Sprintf("%s sends without auth_hmac, which %s enforces", src, in.Name), "set auth_hmac there, or mode permissive here"
	case fsm.WrongKey:
		return fmt.Sprintf("%s has another key of auth_hmac than %s", src, in.Name), "set the same keys, with the same numbers, on both nodes"
	case fsm.Stale:
		return fmt.Sprintf("the clock of %s is not that of this node, or it is an old message", src), "set both clocks, or a longer time_window"
	}
	return fmt.Sprintf("%s has sent a number that is not above the last one: an old message, or a node that was started anew", src), "a new node is heard as soon as it has heard the MASTER"
}

func authName(word string) string {
	if word == "" {
		return "none"
	}
	return word
}

// remedies say what to change about what is remarked.
var remedies = []struct {
	of     fsm.Remarks
	change string
}{
	{fsm.AddressesDiffer, "list the same virtual_ipaddress on both nodes"},
	{fsm.IntervalDiffers, "set the same advert_int on both nodes"},
	{fsm.OwnerHeard, "another node is MASTER beside the owner of the addresses"},
	{fsm.TwoOwners, "only one node may have priority 255"},
	{fsm.MessageChecksum, "v3_checksum_as_v2 makes this node send the same form"},
	{fsm.GlobalFirst, "put a link-local address first there"},
	{fsm.EqualPriority, "give the nodes different priorities: of equal ones the greater address wins"},
	{fsm.PseudoChecksum, "set v3_checksum_as_v2 on both nodes or on none"},
	{fsm.Unsigned, "set auth_hmac there before mode enforce here"},
}

// Advice says in one line what is odd about an accepted message, and what to change.
func Advice(r fsm.Remarks) string {
	list := []string{r.String()}
	for _, m := range remedies {
		if r&m.of != 0 {
			list = append(list, m.change)
		}
	}
	return strings.Join(list, "; ")
}

// detail is a number that changes with the mistake: then it is told again.
func (h Hearing) detail() uint64 {
	v := h.VRRP
	switch h.Verdict {
	case fsm.Accepted:
		return uint64(h.Remarks)
	case fsm.BadTTL:
		return uint64(h.IP.TTL())
	case fsm.BadLength:
		return uint64(len(v))
	case fsm.WrongVersion, fsm.WrongType:
		return uint64(v[0])
	case fsm.WrongAuthType:
		return uint64(v.AuthType())
	case fsm.WrongInterval:
		return uint64(v.Interval() / time.Millisecond)
	}
	return 0
}

// stranger says whose a message of an unknown VRID may be. vip is an address in it that is
// one of instance number of, which is -1 for none.
func (n *Node) stranger(port int, m fsm.Message, vip netip.Addr, of int) string {
	what := fmt.Sprintf("%s sends VRID %d on %s, no instance here has it", m.IP.Src(), m.VRRP.VRID(), n.ports[port].link.Name)
	change := "if it belongs together, give both the same virtual_router_id"
	if of >= 0 {
		change = fmt.Sprintf("it is for %s of %s: give both the same virtual_router_id", vip, n.instances[of].cfg.Name)
	}
	var here []string
	for i := range n.instances {
		if in := &n.instances[i]; in.port == port && in.six() == m.IP.Is6() && len(here) < 4 {
			here = append(here, fmt.Sprintf("%s has %d", in.cfg.Name, in.cfg.VRID))
		}
	}
	if here != nil {
		what += " (" + strings.Join(here, ", ") + ")"
	}
	return what + "; " + change
}

// sharedAddress is the first address of a message that an instance on the port advertises,
// too, and its number, -1 without one.
func (n *Node) sharedAddress(port int, m fsm.Message) (vip netip.Addr, of int) {
	if len(m.VRRP) < m.Size() {
		return netip.Addr{}, -1
	}
	for i := range m.VRRP.Count() {
		if of, ok := n.advertised[sharing{port, m.Addr(i)}]; ok {
			return m.Addr(i), of
		}
	}
	return netip.Addr{}, -1
}
