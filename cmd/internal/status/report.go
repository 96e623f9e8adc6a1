package status

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/forward"
)

// Report is how a director stands, as status --json writes it. Times are seconds.
type Report struct {
	Version     string            `json:"version"`
	Running     float64           `json:"running"` // for how long
	Instances   []Instance        `json:"instances"`
	Scripts     []Script          `json:"scripts"` // vrrp_script that an instance tracks
	BFD         []Session         `json:"bfd"`
	Services    []Service         `json:"services"`
	Refused     []config.Refusal  `json:"refused_scripts"` // that do not run
	Connections int               `json:"connections"`     // entries of the table, templates among them
	Verdicts    map[string]uint64 `json:"verdicts"`        // packets of virtual services, by what became of them
	Timeouts    Timeout           `json:"timeouts"`
}

// Timeout is how long connections live without a packet.
type Timeout struct {
	TCP    float64 `json:"tcp"`
	TCPFin float64 `json:"tcpfin"`
	UDP    float64 `json:"udp"`
}

// Instance is a VRRP instance.
type Instance struct {
	Name      string         `json:"name"`
	Interface string         `json:"interface"`
	VRID      uint8          `json:"vrid"`
	State     string         `json:"state"`    // INIT, BACKUP, MASTER or FAULT
	Priority  uint8          `json:"priority"` // with tracking
	For       float64        `json:"for"`      // how long it is in this state
	Cause     string         `json:"cause"`    // of the state
	Addresses []netip.Prefix `json:"addresses"`
}

// Service is a virtual service.
type Service struct {
	Protocol        string          `json:"protocol,omitempty"` // TCP, UDP or SCTP; none of a mark
	Address         *netip.AddrPort `json:"address,omitempty"`
	Mark            uint32          `json:"mark,omitempty"`
	Family          int             `json:"family"`    // 4 or 6
	Dataplane       string          `json:"dataplane"` // ring, or ipvs: the kernel's
	Scheduler       string          `json:"scheduler"`
	Flags           string          `json:"flags,omitempty"`            // as ipvsadm names them
	Persistence     float64         `json:"persistence,omitempty"`      // timeout of the templates
	PersistenceMask int             `json:"persistence_mask,omitempty"` // prefix length
	OnePacket       bool            `json:"one_packet,omitempty"`
	Here            bool            `json:"here"`          // its address is on this host: it takes packets
	Quorum          bool            `json:"quorum"`        // is reached
	QuorumWeight    int             `json:"quorum_weight"` // that counts for it
	QuorumLost      int             `json:"quorum_lost"`   // it is lost below this weight
	QuorumGained    int             `json:"quorum_gained"` // and gained at this one
	Sorry           *netip.AddrPort `json:"sorry_server,omitempty"`
	SorryActive     bool            `json:"sorry_active,omitempty"`
	Steering        string          `json:"steering,omitempty"` // drain or fail, by an operator, of all servers
	Counters        Counters        `json:"counters"`
	Rates           Counters        `json:"rates"` // a second
	Servers         []Server        `json:"servers"`

	key forward.ServiceKey
}

// Key is what it was made from.
func (s *Service) Key() forward.ServiceKey { return s.key }

// Server is a real server of a service, or its sorry server. One that is configured and
// not listed to take packets is down, or waits for its checks.
type Server struct {
	Address    netip.AddrPort `json:"address"`
	Up         bool           `json:"up"`               // no check fails
	Listed     bool           `json:"listed"`           // it is in the pool
	Steering   string         `json:"steering"`         // serve, drain or fail: what counts for it
	Reason     string         `json:"reason,omitempty"` // why it takes no new connections
	Method     string         `json:"method"`           // Route, Masq, Tunnel or Local
	Weight     int32          `json:"weight"`
	Upper      uint32         `json:"upper_threshold"`
	Lower      uint32         `json:"lower_threshold"`
	Active     uint32         `json:"active"`
	Inactive   uint32         `json:"inactive"`
	Persistent uint32         `json:"persistent"` // templates
	Counters   Counters       `json:"counters"`
	Rates      Counters       `json:"rates"` // a second
	Checks     []Check        `json:"checks,omitempty"`

	configured bool
}

// Counters are those of a service or server; bytes are of IP packets.
type Counters struct {
	Connections uint64 `json:"connections"`
	InPackets   uint64 `json:"in_packets"`
	OutPackets  uint64 `json:"out_packets"`
	InBytes     uint64 `json:"in_bytes"`
	OutBytes    uint64 `json:"out_bytes"`
}

// Conn is an entry of the connection table, one a line of status --connection --json.
type Conn struct {
	Protocol string         `json:"protocol"` // IP for a template of a mark
	Client   netip.AddrPort `json:"client"`
	Virtual  netip.AddrPort `json:"virtual"`
	Server   netip.AddrPort `json:"server"`
	State    string         `json:"state"`
	Template bool           `json:"template,omitempty"`
	Expires  float64        `json:"expires"` // in so many seconds
	Age      float64        `json:"age"`     // in whole seconds
	By       string         `json:"by"`      // the scheduler that placed it, or its template
	Packets  uint32         `json:"packets"` // that passed by here; at most 4294967295
	// Offloaded says that the kernel forwards what is neither its beginning nor its end.
	Offloaded bool `json:"offloaded,omitempty"`
}

// AppendJSON appends a connection as one line.
func AppendJSON(b []byte, now time.Duration, c *forward.Conn) []byte {
	text, err := json.Marshal(Conn{
		Protocol: ProtocolName(c.Protocol), Client: c.Client, Virtual: c.Virtual, Server: c.Server, State: c.State, Template: c.Template,
		Expires: max(0, c.Expires-now).Seconds(), Age: max(0, now-c.Began).Truncate(time.Second).Seconds(), By: c.By, Packets: c.Packets, Offloaded: c.Moved,
	})
	if err != nil {
		panic(err) // a struct of numbers and texts
	}
	return append(append(b, text...), '\n')
}

// Add puts together what node and forwarder tell.
func (r *Report) Add(now time.Duration, instances []node.InstanceView, scripts []node.ScriptView, pools []node.ServiceView, services []forward.ServiceStatus) {
	r.Instances, r.Services, r.Scripts = []Instance{}, []Service{}, []Script{}
	if r.Refused == nil {
		r.Refused = []config.Refusal{}
	}
	for _, s := range scripts {
		r.Scripts = append(r.Scripts, newScript(now, s))
	}
	for _, in := range instances {
		r.Instances = append(r.Instances, Instance{
			in.Name, in.Interface, in.VRID, in.State, in.Priority, max(0, now-in.Since).Seconds(), in.Cause, append([]netip.Prefix{}, in.Addresses...),
		})
	}
	known := map[forward.ServiceKey]node.ServiceView{}
	for _, p := range pools {
		known[p.Key] = p
	}
	for i := range services {
		r.Services = append(r.Services, newService(now, &services[i], known[services[i].Key]))
	}
}

func newService(now time.Duration, s *forward.ServiceStatus, p node.ServiceView) Service {
	v := Service{
		key: s.Key, Mark: s.Key.Mark, Family: 4, Dataplane: "ring", Scheduler: s.Scheduler, Flags: schedulerFlags(s), Persistence: s.Persistence.Seconds(), OnePacket: s.OnePacket,
		Servers: []Server{}, Here: s.Local, Quorum: p.Quorum, QuorumWeight: p.Weight, QuorumLost: p.Lost, QuorumGained: p.Gain, SorryActive: p.Sorry, Counters: counters(s.Stats), Rates: counters(forward.Stats(s.Rates)),
	}
	if s.Key.Mark == 0 {
		v.Protocol, v.Address = ProtocolName(s.Key.Protocol), &s.Key.Addr
	}
	if s.Key.Addr.Addr().Is6() {
		v.Family = 6
	}
	if p.Kernel {
		v.Dataplane = "ipvs"
	}
	if s.Persistence > 0 {
		v.PersistenceMask = s.PersistenceMask
	}
	if p.SorryServer.IsValid() {
		v.Sorry = &p.SorryServer
	}
	if s.Wish != forward.Serve {
		v.Steering = s.Wish.String()
	}
	for _, c := range p.Servers { // in the order of the configuration
		i := slices.IndexFunc(s.Servers, func(r forward.ServerStatus) bool { return r.Addr == c.Addr })
		one := Server{Address: c.Addr, Weight: int32(c.Weight), Steering: s.Wish.String(), Reason: "not in the pool"}
		if i >= 0 {
			one = newServer(&s.Servers[i])
		}
		one.Reason = reasonOf(&one, &p, &c)
		one.Up, one.configured = c.Up, true
		for i := range c.Checks {
			one.Checks = append(one.Checks, newCheck(now, &c.Checks[i]))
		}
		v.Servers = append(v.Servers, one)
	}
	for i := range s.Servers { // the sorry server, and removed ones with connections
		if r := &s.Servers[i]; !slices.ContainsFunc(v.Servers, func(o Server) bool { return o.Address == r.Addr }) {
			one := newServer(r)
			one.Up = r.Present
			v.Servers = append(v.Servers, one)
		}
	}
	return v
}

func newServer(r *forward.ServerStatus) Server {
	return Server{
		Address: r.Addr, Listed: r.Present, Steering: r.Steering.String(), Reason: r.Excluded(), Method: methods[r.Method], Weight: r.Weight,
		Upper: r.Upper, Lower: r.Lower, Active: r.Active, Inactive: r.Inactive, Persistent: r.Persist,
		Counters: counters(r.Stats), Rates: counters(forward.Stats(r.Rates)),
	}
}

func counters(s forward.Stats) Counters {
	return Counters{s.Conns, s.Packets, s.OutPackets, s.Bytes, s.OutBytes}
}
