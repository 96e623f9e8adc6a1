package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// resolveInstance applies keepalived's defaults and corrections, in its order.
func (r *reader) resolveInstance(in *Instance) {
	r.inheritGlobal(tables()["vrrp_instance"], reflect.ValueOf(in).Elem())
	r.alerts(&in.Block, &in.SMTPAlert, r.cfg.Global.SMTPAlertVRRP, false)
	r.resolveTracks(&in.TrackScripts, &in.TrackFiles, &in.TrackProcesses, &in.TrackBFDs)
	in.resolvePriority(r)
	in.resolveFamily(r)
	in.resolveInterval(r)
	in.resolveAuth(r)
	in.resolvePreempt(r)
	if in.Strict {
		in.resolveStrict(r)
	}
	if r.cfg.Global.MinGARP {
		in.GARPMasterRepeat, in.GARPMasterDelay = 1, 0
	}
	in.resolveUnicast(r)
	in.resolveVMAC(r)
	in.resolveAccept(r)
	in.resolveOwnTrack(r)
	if len(in.Addresses)+len(in.Excluded) == 0 && !in.NoVirtualAddress {
		r.say(Warning, in.Pos, "vrrp_instance %s: has no virtual_ipaddress", in.Name)
	}
	in.resolveHMAC(r)
	in.judge(r)
}

// judge says why an instance cannot be started.
func (in *Instance) judge(r *reader) {
	disable := func(p Pos, why string) {
		in.Disabled = why
		r.say(Warning, p, "vrrp_instance %s: %s; the instance is not started", in.Name, why)
	}
	switch {
	case in.Interface == "":
		disable(in.Pos, "has no interface: add \"interface eth0\"")
	case in.Interface == "lo":
		disable(in.At("interface"), "a loopback interface reaches no other node")
	case in.VRID == 0:
		disable(in.Pos, "has no virtual_router_id: add one from 1 to 255")
	}
}

func (in *Instance) resolvePriority(r *reader) {
	if in.Priority == 0 {
		in.Priority = 100
		if in.State == "MASTER" {
			in.Priority = 255
		}
	}
	if in.State == "" {
		in.State = "BACKUP"
		if in.Priority == 255 {
			in.State = "MASTER"
		}
	}
}

// Unicast tells whether advertisements go to peers; there may be none.
func (in *Instance) Unicast() bool { return len(in.UnicastPeers) > 0 || in.UnicastFaultNoPeer }

// OldUnicastSum tells whether checksums are those of keepalived up to 1.3.6, which summed
// the multicast group where advertisements go to a peer: in version 3 over IPv4.
func (in *Instance) OldUnicastSum() bool {
	return in.Has("old_unicast_checksum") && in.OldUnicastChecksum == "" && len(in.UnicastPeers) > 0 && in.Version == 3 && in.Family() == 4
}

// Family is 4 or 6, by the first virtual address; without any, by the first that is
// written of the addresses that advertisements come from and go to.
func (in *Instance) Family() int {
	for _, list := range []Addresses{in.Addresses, in.Excluded} {
		if len(list) > 0 {
			if list[0].Prefix.Addr().Is6() {
				return 6
			}
			return 4
		}
	}
	for _, a := range append(in.UnicastPeers.Addrs(), in.UnicastSource, in.McastSource, in.McastDestination) {
		if a.IsValid() {
			return map[bool]int{true: 6, false: 4}[a.Is6()]
		}
	}
	return 4
}

func (in *Instance) resolveFamily(r *reader) {
	six := in.Family() == 6
	in.Addresses = slices.DeleteFunc(in.Addresses, func(a Address) bool {
		if a.Prefix.Addr().Is6() == six {
			return false
		}
		r.say(Warning, a.Pos, "%v: addresses of one instance are of one family; put it into virtual_ipaddress_excluded. It is ignored", a.Prefix)
		return true
	})
	if six && in.Version == 2 && (in.Strict || !in.Has("version")) { // that of the file is for IPv4
		if in.Has("version") {
			r.say(Warning, in.At("version"), "vrrp_instance %s: vrrp_strict has IPv6 in version 3 alone; it becomes 3", in.Name)
		}
		in.Version = 3
	}
}

// resolveInterval rounds as keepalived does: version 2 knows whole seconds, version 3
// hundredths up to 40.95 s.
func (in *Instance) resolveInterval(r *reader) {
	unit, most := time.Second, 255*time.Second
	if in.Version == 3 {
		unit, most = 10*time.Millisecond, 4095*10*time.Millisecond
	}
	wanted := in.AdvertInterval
	in.AdvertInterval = min(most, max(unit, wanted.Round(unit)))
	if in.AdvertInterval != wanted {
		r.say(Warning, in.At("advert_int"), "advert_int %v: version %d takes steps of %v up to %v; it becomes %v",
			wanted, in.Version, unit, most, in.AdvertInterval)
	}
}

func (in *Instance) resolveAuth(r *reader) {
	p := in.At("authentication")
	if pass := in.AuthPass; len(pass) > 8 {
		in.AuthPass = pass[:8]
		r.say(Warning, in.At("auth_pass"), "auth_pass %q: only its first 8 bytes count: %q", pass, in.AuthPass)
	}
	switch {
	case in.AuthType == "":
		if in.Has("authentication") {
			r.say(Warning, p, "authentication without a usable auth_type; it is ignored")
		}
		in.AuthPass = ""
	case in.AuthPass == "":
		r.say(Warning, p, "authentication without auth_pass; it is ignored")
		in.AuthType = ""
	case in.Version == 3:
		r.say(Warning, p, "version 3 has no authentication; it is ignored")
		in.AuthType, in.AuthPass = "", ""
	case in.Family() == 6:
		r.say(Warning, p, "version 2 over IPv6 has no authentication; it is ignored")
		in.AuthType, in.AuthPass = "", ""
	}
}

func (in *Instance) resolvePreempt(r *reader) {
	switch {
	case in.NoPreempt && in.State == "MASTER":
		r.say(Warning, in.At("nopreempt"), "nopreempt has no effect beside \"state MASTER\": the address comes back to this node; write \"state BACKUP\" on both nodes")
		in.NoPreempt = false
	case in.NoPreempt && in.Priority == 255:
		r.say(Warning, in.At("nopreempt"), "nopreempt has no effect with priority 255")
		in.NoPreempt = false
	}
	if at := in.At("timer_expired_backup"); in.Has("timer_expired_backup") {
		if in.TimerExpiredBackup == 0 {
			in.TimerExpiredBackup = 254
		}
		if !in.NoPreempt {
			r.say(Warning, at, "timer_expired_backup: needs nopreempt; it is ignored")
			in.TimerExpiredBackup = 0
		}
	}
	if in.PreemptDelay > 0 && (in.State == "MASTER" || in.NoPreempt) {
		r.say(Warning, in.At("preempt_delay"), "preempt_delay has no effect beside \"state MASTER\" or nopreempt")
		in.PreemptDelay = 0
	}
}

// resolveStrict is what vrrp_strict forbids.
func (in *Instance) resolveStrict(r *reader) {
	if in.AuthType != "" {
		r.say(Warning, in.At("authentication"), "vrrp_strict forbids authentication; it is ignored")
		in.AuthType, in.AuthPass = "", ""
	}
	if len(in.UnicastPeers) > 0 {
		r.say(Warning, in.At("unicast_peer"), "vrrp_strict forbids unicast peers; they are ignored")
		in.UnicastPeers = nil
	}
	if in.VMACXmitBase {
		r.say(Warning, in.At("vmac_xmit_base"), "vrrp_strict forbids vmac_xmit_base; it is ignored")
		in.VMACXmitBase = false
	}
	if in.UseVMAC != nil && in.UseVMAC.MAC != "" {
		r.say(Warning, in.At("use_vmac"), "vrrp_strict forbids a MAC of one's own; it is ignored")
		in.UseVMAC.MAC = ""
	}
	if in.PreemptDelay > 0 {
		r.say(Warning, in.At("preempt_delay"), "vrrp_strict forbids preempt_delay; it is ignored")
		in.PreemptDelay = 0
	}
	if owner := in.Priority == 255; owner != (in.State == "MASTER") && in.Has("state") {
		in.State = map[bool]State{true: "MASTER", false: "BACKUP"}[owner]
		r.say(Warning, in.At("state"), "vrrp_strict: state must go with the priority, MASTER with 255 alone; it becomes %s", in.State)
	}
	if len(in.Addresses) > 0 && in.Family() == 6 && !in.Addresses[0].Prefix.Addr().IsLinkLocalUnicast() {
		r.say(Warning, in.Addresses[0].Pos, "vrrp_strict: the first IPv6 address must be link-local (RFC 9568 §5.2.9)")
	}
	in.DownTimerAdverts, in.GARPLowerPrioRepeat, in.GARPLowerPrioDelay = 3, 0, 0
	in.LowerPrioNoAdvert, in.HigherPrioSendAdvert = true, false
	if in.Version == 2 && !in.Has("owner_ignore_adverts") && !r.cfg.Global.Has("vrrp_owner_ignore_adverts") {
		in.OwnerIgnoreAdverts = true // RFC 3768 §7.1; erratum 8298 takes it out of RFC 9568
	}
}

// resolveAccept says whether packets to the addresses are dropped: never those of the
// owner; without accept those of a strict instance, which in version 2 cannot have it.
func (in *Instance) resolveAccept(r *reader) {
	switch {
	case in.Priority == 255:
		in.NoAccept = false
	case in.Strict && in.Has("accept") && in.Version == 2:
		r.say(Warning, in.At("accept"), "vrrp_strict: version 2 has no accept mode (RFC 3768 §6.4.3); accept is ignored")
		in.NoAccept = true
	case in.Strict && !in.Has("accept") && !in.NoAccept:
		r.say(Notice, in.Pos, "vrrp_strict: packets to the virtual addresses of %s are dropped, as its priority is not 255: they cannot be pinged", in.Name)
		in.NoAccept = true
	}
	if in.TrackSrcIP && !in.UnicastSource.IsValid() && !in.McastSource.IsValid() {
		r.say(Notice, in.At("track_src_ip"), "track_src_ip has no effect without mcast_src_ip or unicast_src_ip: an address that is not written is always tracked")
		in.TrackSrcIP = false
	}
}

func (in *Instance) resolveUnicast(r *reader) {
	six := in.Family() == 6
	in.UnicastPeers = slices.DeleteFunc(in.UnicastPeers, func(p Peer) bool {
		if p.Addr.Is6() == six {
			return false
		}
		r.say(Warning, p.Pos, "unicast_peer %v: is of another family than the addresses; it is ignored", p.Addr)
		return true
	})
	for keyword, a := range map[string]*netip.Addr{"mcast_src_ip": &in.McastSource, "unicast_src_ip": &in.UnicastSource, "mcast_dst_ip": &in.McastDestination} {
		if a.IsValid() && a.Is6() != six {
			r.say(Warning, in.At(keyword), "%s %v: is of another family than the addresses; it is ignored", keyword, a)
			*a = netip.Addr{}
		}
	}
	if len(in.UnicastPeers) == 0 && in.UnicastFaultNoPeer {
		r.say(Warning, in.At("unicast_fault_no_peer"), "vrrp_instance %s: has no unicast_peer, and stays in FAULT", in.Name)
	}
	if in.Unicast() {
		if !in.Has("unicast_ttl") {
			in.UnicastTTL = 255
			if six {
				in.UnicastTTL = 64 // keepalived leaves it to the kernel
			}
			in.mark("unicast_ttl", in.At("unicast_peer"))
		}
		if !in.CheckUnicastSrc {
			r.say(Notice, in.At("check_unicast_src"), "vrrp_instance %s: advertisements of anybody are heard. keepalived takes no value behind check_unicast_src, and checks: hide the line from it behind @ringkeep", in.Name)
		}
		return
	}
	for _, keyword := range []string{"unicast_src_ip", "unicast_peer", "check_unicast_src", "old_unicast_checksum", "unicast_ttl"} {
		if in.Has(keyword) && (keyword != "check_unicast_src" || in.CheckUnicastSrc) {
			r.say(Warning, in.At(keyword), "%s without a usable unicast_peer: advertisements go to the multicast group", keyword)
			break
		}
	}
	in.UnicastTTL, in.CheckUnicastSrc = 0, false
	delete(in.at, "unicast_ttl")
	delete(in.at, "check_unicast_src")
}

// resolveVMAC completes use_vmac: a MAC of five octets gets the VRID for its sixth, and to
// unicast peers the base interface speaks.
func (in *Instance) resolveVMAC(r *reader) {
	if in.VMACXmitBase && in.UseVMAC == nil {
		r.say(Warning, in.At("vmac_xmit_base"), "vmac_xmit_base is for use_vmac only; it is ignored")
		in.VMACXmitBase = false
	}
	if in.UseVMAC == nil {
		return
	}
	if in.UseVMAC.MAC != "" {
		in.UseVMAC.MAC = in.resolveMAC(r, in.UseVMAC.MAC)
	}
	if len(in.UnicastPeers) > 0 && !in.VMACXmitBase {
		r.say(Warning, in.At("use_vmac"), "vrrp_instance %s: advertisements to unicast peers leave by the base interface; vmac_xmit_base is added", in.Name)
		in.VMACXmitBase = true
		in.mark("vmac_xmit_base", in.At("use_vmac"))
	}
}

func (in *Instance) resolveMAC(r *reader, text string) string {
	whole := text
	if strings.Count(text, ":") == 4 {
		whole = fmt.Sprintf("%s:%02x", text, in.VRID)
	}
	mac, err := net.ParseMAC(whole)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		r.say(Warning, in.At("use_vmac"), "vrrp_instance %s: use_vmac %s: must be five or six octets of a MAC that is no group's; the MAC of the VRID is used", in.Name, text)
		return ""
	}
	return mac.String()
}

// resolveOwnTrack drops the own interface from track_interface, and the weights of those
// that addresses, routes and rules need, as keepalived 2.2.7 does.
func (in *Instance) resolveOwnTrack(r *reader) {
	in.TrackInterfaces = slices.DeleteFunc(in.TrackInterfaces, func(t Track) bool {
		if t.Name != in.Interface {
			return false
		}
		r.say(Notice, t.Pos, "track_interface %s: is the instance's own: dont_track_primary alone says whether it is tracked; the line is ignored, with its weight", t.Name)
		return true
	})
	written := in.TrackInterfaces
	in.TrackInterfaces = nil
	needed := in.Needs()
	in.TrackInterfaces = written
	for i := range written {
		if t := &written[i]; slices.Contains(needed, t.Name) && (t.Weight != 0 || t.Reverse) {
			r.say(Notice, t.Pos, "track_interface %s: carries addresses, routes or rules that are not no_track, so its loss is a FAULT; the weight is ignored", t.Name)
			t.Weight, t.Reverse = 0, false
		}
	}
}

// resolveWeights drops the weights of an owner and of a member of a sync group, which
// would part from the others, as keepalived does.
func (in *Instance) resolveWeights(r *reader, group *SyncGroup) {
	member := group != nil && !group.TrackingWeight
	if !member && in.Priority != 255 {
		return
	}
	why := "priority 255 does not change"
	if member {
		why = "members of vrrp_sync_group " + group.Name + " have no weights of their own without sync_group_tracking_weight"
	}
	drop := func(list *Tracks, unweighted func(Track) bool) {
		*list = slices.DeleteFunc(*list, func(t Track) bool {
			if t.Weight != 0 && !unweighted(t) {
				r.say(Warning, t.Pos, "vrrp_instance %s: %s has a weight, but %s; the line is ignored", in.Name, t.Name, why)
				return true
			}
			return false
		})
		for i, t := range *list {
			if t.Weight != 0 {
				r.say(Warning, t.Pos, "vrrp_instance %s: %s has a weight, but %s; the weight becomes 0, so that its failure is a FAULT", in.Name, t.Name, why)
				(*list)[i].Weight = 0
			}
		}
	}
	drop(&in.TrackInterfaces, func(Track) bool { return member })
	drop(&in.TrackScripts, func(Track) bool { return false })
	drop(&in.TrackFiles, func(t Track) bool { return t.Weight == 1 })
	drop(&in.TrackBFDs, func(Track) bool { return false })
}

// crossInstances compares the instances of the file with each other.
func (r *reader) crossInstances() {
	r.cfg.Instances = unique(r, "vrrp_instance", r.cfg.Instances, func(s *Instance) string { return s.Name }, func(s *Instance) Pos { return s.Pos })
	type router struct {
		iface  string
		vrid   uint8
		family int
		peers  string
	}
	seen := map[router]*Instance{}
	vips := map[netip.Addr]*Instance{}
	for _, in := range r.cfg.Instances {
		for _, a := range slices.Concat(in.Addresses, in.Excluded) {
			if other := vips[a.Prefix.Addr()]; other != nil {
				r.say(Warning, a.Pos, "%v: is an address of %s already", a.Prefix.Addr(), other.Name)
			}
			vips[a.Prefix.Addr()] = in
		}
		if in.VRID == 0 || in.Interface == "" {
			continue
		}
		key := router{in.Interface, in.VRID, in.Family(), in.peerNames()}
		if other := seen[key]; other != nil {
			in.Disabled = "its virtual_router_id is taken"
			r.say(Warning, in.At("virtual_router_id"), "vrrp_instance %s: virtual_router_id %d is taken on %s by %s; the instance is not started", in.Name, in.VRID, in.Interface, other.Name)
			continue
		}
		seen[key] = in
	}
}

func (in *Instance) peerNames() string {
	var list []string
	for _, p := range in.UnicastPeers {
		list = append(list, p.Addr.String())
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}
