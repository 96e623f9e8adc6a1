package forward

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/proto"
	"github.com/ringkeep/ringkeep/sched"
)

// ServiceKey names a virtual service: of a protocol, an address and a port, of which 0 takes
// every port that no other service of the address has; or of all packets with a mark.
type ServiceKey struct {
	Protocol uint8          // proto.ProtocolTCP or ProtocolUDP; 0 for a mark
	Addr     netip.AddrPort // with a mark the unspecified address of the family, port 0
	Mark     uint32         // 0 for none
}

// Service is a virtual service.
type Service struct {
	Key             ServiceKey
	Scheduler       string        // a name that sched.New knows
	Options         sched.Options // of the scheduler
	Persistence     time.Duration // 0: off
	PersistenceMask int           // prefix length by which clients are told apart, 0 means all of the address
	OnePacket       bool          // every datagram is scheduled by itself (UDP only)
	Midstream       Midstream     // what becomes of a TCP segment of no connection
	ExpireNoDest    bool          // a connection whose server is gone, or has weight 0 and a new SYN, is placed anew
	ExpireQuiescent bool          // a persistent client leaves a server with weight 0
	CacheBypass     bool          // of a mark: without a server packets go where they were sent
	Reuse           ReuseMode
}

// Midstream is what becomes of a TCP segment that belongs to no connection and opens none.
type Midstream uint8

// The ways. With Schedule the service's scheduler places it, which makes sense where two
// directors agree on the place, as with mh.
const (
	Reset Midstream = iota
	Drop
	Schedule
)

// ReuseMode is when a SYN that meets a connection of the same addresses and ports is
// placed anew, as conn_reuse_mode of IPVS; a persistent one never is.
type ReuseMode uint8

// The modes. The kernel's default is 1, which here is the zero value.
const (
	ReuseClosed  ReuseMode = iota // a connection in TIME_WAIT or CLOSE (1)
	ReuseFinWait                  // in FIN_WAIT, too, where the answers are not seen (2)
	ReuseNever                    // (0)
)

// Method is how packets reach a real server.
type Method uint8

// The methods.
const (
	DR     Method = iota // direct routing: only the Ethernet addresses change
	NAT                  // the packet gets the server's address and port, its answer the service's
	TUN                  // the packet travels inside another, see [Tunnel]
	Local                // the server is this host
	bypass               // no server: to where the packet was sent
)

// TunnelType is what the packets of a TUN server are wrapped into.
type TunnelType uint8

// The types, with the numbers that the kernel gives them.
const (
	IPIP TunnelType = iota // RFC 2003, RFC 2473, RFC 4213
	GUE                    // draft-ietf-intarea-gue
	GRE                    // RFC 2784
)

// TunnelSum is the checksum of GUE and GRE headers.
type TunnelSum uint8

// The checksums, with the numbers that the kernel gives them.
const (
	NoSum     TunnelSum = iota
	Sum                 // of the outer UDP or GRE header
	RemoteSum           // GUE's remote checksum offload
)

// Tunnel is how packets for a TUN server are wrapped.
type Tunnel struct {
	Type TunnelType
	Sum  TunnelSum
	Port uint16 // UDP destination port of GUE
}

// Server is a real server of a service. From Upper connections on, active and inactive
// together, it takes no new ones, until they are fewer than Lower, or with Lower 0 than
// three quarters of Upper. Upper 0 is no limit.
type Server struct {
	Addr         netip.AddrPort
	Method       Method
	Tunnel       Tunnel // of TUN
	Weight       int32
	Upper, Lower uint32
}

// Verdict is what becomes of a packet.
type Verdict uint8

// The verdicts. Every one has a counter.
const (
	NotMine       Verdict = iota // no service: the kernel's business
	Forward                      // to Decision.Server; the TTL was decremented
	Return                       // an answer of a NAT server: to Decision.Hop; the TTL was decremented
	Deliver                      // to the local stack
	NotLocal                     // the service's address is not here at present
	NoConn                       // TCP in midstream without a connection: answer with a reset
	Unwanted                     // the same, or from an address that nobody has: dropped without an answer
	NoDestination                // no server can take it: answer with ICMP port unreachable
	TTLExceeded                  // answer with ICMP time exceeded
	ServerGone                   // the connection's server was removed: dropped, it may come back
	TableFull                    // no room for a new connection
	Fragment                     // not the first fragment, and the first was not seen
	Malformed                    // lengths contradict each other
	TooBig                       // longer than Decision.MTU and not to be cut: answer with ICMP too big
	TunnelError                  // an error about our tunnel's packet: tell the client, see AppendTunnelError
	TunnelMTU                    // likewise, of which the client need not be told
	Stray                        // as NoConn, where a connection of this host itself may be from the address and port
	verdictCount
)

var verdicts = [verdictCount]string{
	"not mine", "forward", "return", "deliver", "address not here", "no connection", "unwanted", "no destination",
	"TTL exceeded", "server gone", "table full", "fragment", "malformed",
	"too big", "tunnel error", "tunnel MTU", "stray",
}

// String names the verdict.
func (v Verdict) String() string { return verdicts[v] }

// Decision is what to do with a packet. Server is meaningful with Forward and Deliver, Hop
// with Return and TunnelError.
type Decision struct {
	Verdict Verdict
	Rebuild bool   // it leaves as the packets that [Forwarder.Rebuild] makes of it
	Bulk    bool   // somebody else may move what follows of its flow, see [Forwarder.Moved]
	Inner   uint16 // with TunnelError: where the client's packet is quoted
	Server  int32
	Hop     Hop
	MTU     int // with TooBig and TunnelError: what fits, in bytes of packet; 0 for another error
}

// Hop is a neighbour on a port, by which packets of a client came.
type Hop struct {
	Port int32
	MAC  proto.MAC
}

// Ingress is how a packet came: from whom, and what its sender left for the hardware to do.
type Ingress struct {
	From   Hop
	Virtio proto.Virtio // nil for nothing
}

// Config bounds a forwarder. MaxConns is the most connections and templates together;
// Seed keys the hash, so that nobody can aim for one bucket.
// With Recycle a full table gives up the oldest half-open connection for a new one;
// without, new ones are refused.
type Config struct {
	MaxConns int
	Seed     uint64
	Recycle  bool
	FirstID  uint32 // from which packets of our own that may be cut are numbered
}

// service is a virtual service with its servers in list order, the latest first.
type service struct {
	Service
	sched   sched.Scheduler
	by      uint8          // its number in sched.Names
	view    []sched.Server // those that take new connections, as far as weight and load allow
	members []int32        // those that it has, and removed ones
	local   bool
	gone    bool // it was removed
	wish    Steering
	stats   Stats
	rate    estimator
	bypass  int32 // of a mark: the number of the server that stands for none, else nobody
}

// server is a real server. It stays when it is removed, since connections point to
// it and resume when it comes back, until nothing does, see [Tidy].
type server struct {
	Server
	addr                      addr  // of Server.Addr
	service                   int32 // nobody for a number that is nobody's
	fits                      int32 // the longest packet that passes in one
	present, overload         bool
	cut                       bool     // connections of it may have to end at their next packet
	evicted                   bool     // those before born end, see Evict
	wish                      Steering // of the operator, for it alone
	steering                  Steering // the stricter one of it and the service's
	born                      uint32
	rank                      uint64 // place in the list: the higher comes first
	active, inactive, persist uint32
	singles                   uint32 // entries for the answers to single datagrams
	stats                     Stats
	rate                      estimator
	path                      path
}

// Stats count since the start. Out are the answers of NAT servers; bytes are those of the IP
// packets.
type Stats struct{ Conns, Packets, Bytes, OutPackets, OutBytes uint64 }

// Forwarder is the data plane of one director. It is not safe for concurrent use.
type Forwarder struct {
	services  []service
	servers   []server
	byKey     map[place]int32
	numbers   map[member]int32                    // of servers, also of removed ones
	spare     struct{ services, servers []int32 } // numbers that are nobody's
	marks     []markRule
	away      map[addr]bool // addresses that another node has, see SetAway
	table     table
	fragments fragments
	half      halfOpen
	timeouts  [len(defaultTimeouts)]time.Duration
	nat       bool // there was a NAT server
	ahead     prefetch
	counters  [verdictCount]uint64
	ranks     uint64 // that were given out
	sweep     span
	estimate  time.Duration // when the rates are next due, 0 while they rest
	back      []int32       // the MTU of each port, 0 for unknown
	recheck   time.Duration // when what was learned of a path may end, 0 for nothing learned
	id        uint32        // of the last packet of our own that may be cut
	scratch   []byte        // such a packet
	recalled  []Flow        // since Recalled
}

// New makes a forwarder without services.
func New(c Config) *Forwarder {
	f := &Forwarder{byKey: map[place]int32{}, numbers: map[member]int32{}, away: map[addr]bool{}, table: newTable(c), timeouts: defaultTimeouts, id: c.FirstID}
	f.fragments.seed = f.table.seed
	if c.Recycle {
		f.half.most = c.MaxConns
	}
	return f
}

// SetTimeouts changes how long established TCP connections, those in FIN_WAIT and UDP live
// without a packet; 0 leaves one as it is. What is in the table follows with its next packet.
func (f *Forwarder) SetTimeouts(tcp, fin, udp time.Duration) {
	for _, s := range [...]struct {
		state state
		to    time.Duration
	}{{stEstablished, tcp}, {stFinWait, fin}, {stUDP, udp}} {
		if s.to > 0 {
			f.timeouts[s.state] = s.to
		}
	}
}

// Timeouts are those that SetTimeouts changes.
func (f *Forwarder) Timeouts() (tcp, fin, udp time.Duration) {
	return f.timeouts[stEstablished], f.timeouts[stFinWait], f.timeouts[stUDP]
}

// place is a key as packets are looked up by it.
type place struct {
	addr     addr
	mark     uint32
	port     uint16
	protocol uint8
}

func (k ServiceKey) place() place {
	return place{toAddr(k.Addr.Addr()), k.Mark, k.Addr.Port(), k.Protocol}
}

// String writes the key as TCP 10.0.0.1:80 or FWM 7.
func (k ServiceKey) String() string {
	name := "TCP "
	switch {
	case k.Mark != 0 && k.Addr.Addr().Is6():
		return fmt.Sprintf("FWM %d IPv6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("FWM %d", k.Mark)
	case k.Protocol == proto.ProtocolUDP:
		name = "UDP "
	case k.Protocol == proto.ProtocolSCTP:
		name = "SCTP "
	}
	return name + k.Addr.String()
}

// AddService adds a service without servers. It takes packets once SetLocal has said
// that its address is here.
func (f *Forwarder) AddService(s Service) error {
	if k := s.Key; k.Mark == 0 && k.Protocol != proto.ProtocolTCP && k.Protocol != proto.ProtocolUDP && k.Protocol != proto.ProtocolSCTP {
		return fmt.Errorf("service %v: only TCP, UDP and SCTP are forwarded", s.Key)
	}
	if _, ok := f.byKey[s.Key.place()]; ok {
		return fmt.Errorf("service %v: defined twice", s.Key)
	}
	if s.PersistenceMask == 0 {
		s.PersistenceMask = s.Key.Addr.Addr().BitLen()
	}
	scheduler, err := sched.New(s.Scheduler, s.Options)
	if err != nil {
		return fmt.Errorf("service %v: %w", s.Key, err)
	}
	i, members, around := f.serviceNumber(s.Key)
	f.byKey[s.Key.place()] = i
	f.services[i] = service{Service: s, sched: scheduler, by: numberOf(s.Scheduler), local: s.Key.Mark != 0, members: members, bypass: around}
	return nil
}

func (f *Forwarder) service(k ServiceKey) *service {
	i, ok := f.byKey[k.place()]
	if !ok {
		panic(fmt.Sprintf("forward: no service %v", k))
	}
	return &f.services[i]
}

// find returns the number of a server of the service, also of a removed one.
func (f *Forwarder) find(k ServiceKey, addr netip.AddrPort) int32 {
	if i, ok := f.numbers[member{f.byKey[k.place()], addr}]; ok {
		return i
	}
	return -1
}

// member is a server of the service with that number.
type member struct {
	service int32
	addr    netip.AddrPort
}

// number is find for a server that is needed, known or not.
func (f *Forwarder) number(k ServiceKey, addr netip.AddrPort) int32 {
	i := f.find(k, addr)
	if i < 0 {
		svc := f.byKey[k.place()]
		i = f.newServer(server{Server: Server{Addr: addr}, service: svc})
		f.numbers[member{svc, addr}] = i
		f.services[svc].members = append(f.services[svc].members, i)
		f.steer(i)
	}
	return i
}

// AddServer adds a server at the head of the service's list and returns its number:
// small, dense, and the same again when the server was removed and comes back while there
// are connections of it. The number of one that is gone for good may become another's, by [Tidy].
// The service must exist.
func (f *Forwarder) AddServer(k ServiceKey, s Server) (id int, err error) {
	f.service(k)
	if err := s.check(k); err != nil {
		return 0, err
	}
	i := f.number(k, s.Addr)
	rs := &f.servers[i]
	if rs.present {
		return 0, fmt.Errorf("server %v of %v: added twice", s.Addr, k)
	}
	f.ranks++
	rs.present, rs.rank = true, f.ranks
	f.equip(rs, s)
	f.list(i)
	return int(i), nil
}

func (s Server) check(k ServiceKey) error {
	if s.Addr.Addr().Is4() != k.Addr.Addr().Is4() && s.Method != TUN || s.Weight < 0 {
		return fmt.Errorf("server %v of %v: needs an address of the same family, or TUN, and a weight of 0 or more", s.Addr, k)
	}
	if s.Method == TUN && s.Tunnel.Type == GUE && s.Tunnel.Port == 0 {
		return fmt.Errorf("server %v of %v: a GUE tunnel needs a port", s.Addr, k)
	}
	return nil
}

// equip gives a server its attributes.
func (f *Forwarder) equip(rs *server, s Server) {
	rs.Server, rs.addr = s, toAddr(s.Addr.Addr())
	rs.measure()
	f.nat = f.nat || s.Method == NAT
}

// list brings the scheduler's list in line with a server that was added or removed, or that
// an operator steers: it is there, in its place, while it takes new connections.
func (f *Forwarder) list(id int32) {
	rs := &f.servers[id]
	svc := &f.services[rs.service]
	at, want := svc.place(id), rs.present && rs.steering == Serve && rs.Method != bypass
	switch {
	case want && at < 0:
		for at = 0; at < len(svc.view) && f.servers[svc.view[at].ID].rank > rs.rank; at++ {
		}
		svc.view = slices.Insert(svc.view, at, sched.Server{ID: id, Weight: rs.Weight, Sum: sched.Fold(rs.Addr.Addr()) + uint32(rs.Addr.Port())})
		f.count(id, 0, 0)
		svc.sched.Changed(svc.view)
	case !want && at >= 0:
		svc.sched.Removed(svc.view, at)
		svc.view = slices.Delete(svc.view, at, at+1)
		svc.sched.Changed(svc.view)
	}
}

// RemoveServer takes a server out of the list. Its connections stay in the table;
// their packets are dropped until the server comes back or the connection expires.
func (f *Forwarder) RemoveServer(k ServiceKey, addr netip.AddrPort) {
	f.service(k)
	if id := f.find(k, addr); id >= 0 {
		f.servers[id].present = false
		f.list(id)
	}
}

func (s *service) place(id int32) int {
	return slices.IndexFunc(s.view, func(v sched.Server) bool { return v.ID == id })
}

// SetLocal says whether vip is an address of this host. IPVS looks at packets on
// their way to the local stack: without the address its services rest.
func (f *Forwarder) SetLocal(vip netip.Addr, local bool) {
	for i := range f.services {
		if f.services[i].Key.Mark == 0 && f.services[i].Key.Addr.Addr() == vip && !f.services[i].gone {
			f.services[i].local = local
		}
	}
}

// SetAway says whether another node has addr at present: packets to it are then for no
// service by mark.
func (f *Forwarder) SetAway(addr netip.Addr, away bool) {
	if away {
		f.away[toAddr(addr)] = true
	} else {
		delete(f.away, toAddr(addr))
	}
}

// Server returns what AddServer or EditServer was given for a number; ok is false for one that is
// nobody's.
func (f *Forwarder) Server(id int32) (s Server, ok bool) {
	if id < 0 || int(id) >= len(f.servers) || f.servers[id].service == nobody {
		return Server{}, false
	}
	return f.servers[id].Server, true
}

// Uncount takes a packet with this verdict out of the counters: another forwarder decides on it.
func (f *Forwarder) Uncount(v Verdict) { f.counters[v]-- }

// Counter tells how many packets had a verdict.
func (f *Forwarder) Counter(v Verdict) uint64 { return f.counters[v] }
