package node

import (
	"net/netip"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/fsm"
	"github.com/ringkeep/ringkeep/proto"
)

// Event is something that happened to the director.
type Event interface{ event() }

type (
	// Start begins the elections, the checks and the tracking scripts.
	Start struct{}
	// Stop ends them: a MASTER sends priority 0 and gives its addresses up.
	Stop struct{}
	// Tick says that the deadline has come.
	Tick struct{}
	// Received is a frame of the control socket: VRRP, ARP or neighbour
	// discovery. Frame is read
	// during the step only. At is when the kernel took it from the wire.
	Received struct {
		Port  int
		Frame []byte
		At    time.Duration
	}
	// LinkChanged tells the carrier of a port; Up means IFF_UP and running. MTU is in bytes
	// of IP packet, 0 for as it was.
	LinkChanged struct {
		Port int
		MAC  proto.MAC
		MTU  int
		Up   bool
	}
	// AddressChanged tells that the kernel gained or lost an address.
	AddressChanged struct {
		Port    int
		Prefix  netip.Prefix
		Present bool
	}
	// Routed tells the gateway towards one of [Node.Peers]; Via is invalid while that is
	// on the link, or nowhere. Out is the port of a gateway towards a server.
	Routed struct {
		Peer
		Via netip.Addr
		Out int
	}
	// Clock tells the time since 1970 (UTC) at which our time was 0. It comes before Start,
	// and whenever the clock was set; only who has auth_hmac asks, see [Node.AsksClock].
	Clock struct{ Offset time.Duration }
	// CheckDone is the raw result of check number Check. Local results (no
	// socket, no such local address) judge nobody. Exit is the exit status of a script.
	CheckDone struct {
		Check  int
		OK     bool
		Local  bool
		Exit   int
		Reason string
	}
	// ScriptDone is the result of one run of tracking script number Script.
	ScriptDone struct {
		Script int
		OK     bool
		Reason string
	}
	// Steer is what an operator wants of the flows of a server, or with the zero Server of
	// all servers of a service. It lasts while the server is configured.
	Steer struct {
		Service forward.ServiceKey
		Server  netip.AddrPort
		To      forward.Steering
	}
	// Unresolved is a frame of a worker for a server whose MAC is not known; it is the node's.
	Unresolved struct {
		Server      int32
		Head, Frame []byte
	}
	// Evict ends the flows of a server, or with the zero Server of all servers of a service:
	// their next packets are new ones.
	Evict struct {
		Service forward.ServiceKey
		Server  netip.AddrPort
	}
	// FileRead is the number that tracked file number File has now. What is read before
	// Start is what the elections begin with.
	FileRead struct{ File, Value int }
	// ProcessesCounted is how many processes there are of tracked process number Process.
	ProcessesCounted struct{ Process, Count int }
)

func (FileRead) event()         {}
func (Steer) event()            {}
func (Evict) event()            {}
func (Unresolved) event()       {}
func (Clock) event()            {}
func (ProcessesCounted) event() {}
func (Start) event()            {}
func (Stop) event()             {}
func (Tick) event()             {}
func (Received) event()         {}
func (LinkChanged) event()      {}
func (AddressChanged) event()   {}
func (Routed) event()           {}
func (CheckDone) event()        {}
func (ScriptDone) event()       {}

// Action is something that the driver must do, in the order of the list.
type Action interface{ action() }

type (
	// Send puts a frame on a port. Head is the virtio header it arrived with,
	// nil for frames of our own. The driver owns both from now on.
	Send struct {
		Port  int
		Head  []byte
		Frame []byte
	}
	// AddAddress and RemoveAddress change the addresses of an interface.
	AddAddress    struct{ config.Address }
	RemoveAddress struct{ config.Address }
	// BlockAddresses keeps packets to and from virtual addresses from the programs of
	// this host (RFC 9568 §6.4.3), but not ARP and neighbour discovery, and neither what
	// it forwards for others. UnblockAddresses ends that.
	BlockAddresses   struct{ Addresses []config.Address }
	UnblockAddresses struct{ Addresses []config.Address }
	// RunCheck starts check number Check, of a web server the request number URL; its end
	// comes back as CheckDone.
	RunCheck struct{ Check, URL int }
	// RunScript starts tracking script number Script; ScriptDone follows.
	RunScript struct{ Script int }
	// Notify queues a notification script. Scripts of one Queue run one after
	// the other; Extra follows the configured arguments.
	Notify struct {
		Queue   string
		Command *config.Command
		Extra   []string
	}
	// Changed reports a transition of an instance and its cause.
	Changed struct {
		Instance string
		VRID     uint8
		Priority uint8
		fsm.Changed
	}
	// GroupChanged reports the new state of all members of a sync group.
	GroupChanged struct {
		Group string
		State fsm.State
	}
	// PriorityChanged reports a new effective priority.
	PriorityChanged struct {
		Instance string
		From, To uint8
	}
	// Refused reports an advertisement of Src that an instance refused, or that is for
	// none, whose name is empty then. Further ones like it are counted; see [Tally].
	// Late reports that an advertisement left so long after its time that backups may
	// take over (RFC 9568 §2.5): once a minute, with the worst of the More that were
	// late since the last report.
	Late struct {
		Instance string
		VRID     uint8
		By       time.Duration
		More     int
	}
	// Refused reports the first advertisement of Src that an instance refused
	// for this reason since the last transition. Further ones are counted.
	Refused struct {
		Instance  string
		Interface string
		VRID      uint8
		Src       netip.Addr
		Verdict   fsm.Verdict
		Why       string // what is wrong; what to change
	}
	// Remarked reports what is odd about advertisements of Src that take part all
	// the same.
	Remarked struct {
		Instance string
		VRID     uint8
		Src      netip.Addr
		Remarks  fsm.Remarks
	}
	// ServerChanged reports a real server that went up or down.
	ServerChanged struct {
		Service string // its name, as keepalived's log has it
		Server  netip.AddrPort
		Up      bool
		Inhibit bool
		Reason  string
	}
	// Steered reports what an operator wants of a server, or with the zero Server of all
	// servers of a service.
	Steered struct {
		Service string // its name, as keepalived's log has it
		Server  netip.AddrPort
		To      forward.Steering
	}
	// Evicted reports that an operator ends the flows of a server, or with the zero Server
	// of all.
	Evicted struct {
		Service string
		Server  netip.AddrPort
	}
	// QuorumChanged reports a virtual service that gained or lost its quorum, with the weight
	// that is alive. Sorry is the sorry server that stepped in or out, if there is one.
	QuorumChanged struct {
		Service            string // its name, as keepalived's log has it
		Up                 bool
		Quorum, Hysteresis int
		Weight             int
		Sorry              netip.AddrPort
	}
	// ScriptChanged reports a tracking script that turned good or bad.
	ScriptChanged struct {
		Script string
		Up     bool
		Reason string
	}
	// Mail is for the recipients of notification_email. The driver puts the body between
	// arrows and the router's name before the subject.
	Mail struct{ Subject, Body string }
	// Line is for the notification FIFOs: of VRRP, or of the virtual servers.
	Line struct {
		VRRP bool
		Text string
	}
	// FileChanged reports the new number of a tracked file.
	FileChanged struct {
		File  string
		Value int
	}
	// QuorumOfProcess reports a tracked process that has gained or lost its quorum.
	QuorumOfProcess struct {
		Process string
		Up      bool
		Count   int
	}
	// Restored reports a virtual address that another program has removed, and that
	// is put back.
	Restored struct {
		Instance string
		Addr     netip.Addr
	}
	// Unreachable reports an address that no port has a prefix for.
	Unreachable struct{ Addr netip.Addr }
)

func (Send) action()             {}
func (AddAddress) action()       {}
func (RemoveAddress) action()    {}
func (RunCheck) action()         {}
func (RunScript) action()        {}
func (Notify) action()           {}
func (Changed) action()          {}
func (GroupChanged) action()     {}
func (PriorityChanged) action()  {}
func (Refused) action()          {}
func (Tally) action()            {}
func (Remarked) action()         {}
func (ServerChanged) action()    {}
func (QuorumChanged) action()    {}
func (Steered) action()          {}
func (Evicted) action()          {}
func (ScriptChanged) action()    {}
func (Unreachable) action()      {}
func (Restored) action()         {}
func (Line) action()             {}
func (FileChanged) action()      {}
func (QuorumOfProcess) action()  {}
func (BlockAddresses) action()   {}
func (UnblockAddresses) action() {}
func (Late) action()             {}
func (Mail) action()             {}
