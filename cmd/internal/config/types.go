package config

import (
	"net/netip"
	"slices"
	"time"
)

// Block is where a block stands and which of its keywords were written.
type Block struct {
	Pos
	at map[string]Pos
}

// At is where a keyword of the block stands, or the block itself if it is not written.
func (b *Block) At(keyword string) Pos {
	if p, ok := b.at[keyword]; ok && p != (Pos{}) {
		return p
	}
	return b.Pos
}

// Has tells whether the keyword is written in the block or inherited from one around it.
func (b *Block) Has(keyword string) bool { _, ok := b.at[keyword]; return ok }

func (b *Block) mark(keyword string, p Pos) {
	if b.at == nil {
		b.at = map[string]Pos{}
	}
	b.at[keyword] = p
}

func (b *Block) base() *Block { return b }

// Config is a file with every default resolved. What it points to is not changed
// after it was read.
type Config struct {
	Block
	Global          Global
	StaticAddresses Addresses
	StaticRoutes    Routes
	StaticRules     Rules
	TrackGroups     []*TrackGroup
	InterfaceDelays InterfaceDelays
	GARPGroups      []*GARPGroup
	Scripts         []*Script
	TrackFiles      []*TrackFile
	TrackProcesses  []*TrackProcess
	BFDs            []*BFD
	SSL             *SSL
	SyncGroups      []*SyncGroup
	Instances       []*Instance
	ServerGroups    []*ServerGroup
	VirtualServers  []*VirtualServer

	NetNamespace, InstanceName string
	UsePIDDir                  bool

	// Refused are the scripts that the host does not run. Who asks it takes them out of
	// the configuration, and puts them down here.
	Refused []Refusal

	texts map[string]string // of every file, for messages
	ipvs  bool              // the kernel's is used
}

// UsesIPVS tells whether the kernel's IPVS is used: by a service, or because the director
// was told to.
func (c *Config) UsesIPVS() bool {
	return c.ipvs || slices.ContainsFunc(c.VirtualServers, func(vs *VirtualServer) bool { return vs.kernel && vs.Disabled == "" })
}

// Refusal is a script that is not run.
type Refusal struct {
	Of     string `json:"of"` // what it was for: notify_master of vrrp_instance VI_1
	Script string `json:"script"`
	At     string `json:"at"` // where it stands in the file
	Reason string `json:"reason"`
}

// Global is global_defs.
type Global struct {
	Block
	RouterID              string
	NotificationEmail     Names
	NotificationEmailFrom string
	SMTPServer            MailServer
	SMTPHeloName          string
	SMTPConnectTimeout    time.Duration
	SMTPAlert             *bool // nil: not written
	SMTPAlertVRRP         *bool
	SMTPAlertChecker      *bool
	NoEmailFaults         bool
	NoCheckerEmails       bool
	CheckerLogAllFailures bool
	RSInitNotifies        bool

	Version                 uint8 // vrrp_version, 2 or 3
	Strict                  bool
	SkipCheckAdvAddr        bool
	GARPInterval            time.Duration
	GNAInterval             time.Duration
	MinGARP                 bool
	GARPMasterDelay         time.Duration
	GARPMasterRepeat        int
	GARPMasterRefresh       time.Duration
	GARPMasterRefreshRepeat int
	GARPLowerPrioDelay      time.Duration
	GARPLowerPrioRepeat     int
	DownTimerAdverts        int
	StartupDelay            time.Duration
	DelayAfterBoot          time.Duration
	LowerPrioNoAdvert       bool
	HigherPrioSendAdvert    bool
	OwnerIgnoreAdverts      bool
	CheckUnicastSrc         bool
	V3ChecksumAsV2          bool
	LogUnknownVRIDs         bool
	MulticastGroup4         netip.Addr
	MulticastGroup6         netip.Addr
	VMACPrefix              string
	DefaultInterface        string
	DynamicInterfaces       Switch // with allow_if_changes or without

	PacketMarks     PacketMarks
	ConnectionTable ConnectionTable
	Policy

	LVSTimeouts    Timeouts
	LVSFlush       bool
	LVSFlushOnStop Switch // with VS: the services only
	LVSSyncDaemon  *SyncDaemon

	ScriptUser             Account
	SetSupplementaryGroups bool
	EnableScriptSecurity   bool
	StartupScript          *Command
	StartupScriptTimeout   time.Duration
	ShutdownScript         *Command
	ShutdownScriptTimeout  time.Duration

	NotifyFIFO                  *FIFO
	NotifyFIFOScript            *Command
	VRRPNotifyFIFO              *FIFO
	VRRPNotifyFIFOScript        *Command
	LVSNotifyFIFO               *FIFO
	LVSNotifyFIFOScript         *Command
	NotifyPriorityChanges       bool
	FIFOWriteVRRPStatesOnReload bool

	ProcessPriority  int // nice value
	RealTimePriority int // 0: none
	NoSwap           bool
	CPUAffinity      []string // numbers of processors

	ReloadCheckConfig Switch // with the file of the findings
	ReloadFile        Switch // with its path
	IncludeCheck      IncludeCheck
	RandomSeed        uint32
	JSONVersion       uint8
}

// Script is a vrrp_script.
type Script struct {
	Block
	Account
	Name              string
	Script            *Command // without user: that is the Account's
	Interval, Timeout time.Duration
	Rise, Fall        int
	Weight            int // -253 to 253; 0: failure is a FAULT
	Reverse, InitFail bool
}

// TrackFile is a track_file: a number in a file steers a priority or a weight.
type TrackFile struct {
	Block
	Name, File string
	Weight     int // -254 to 254
	Reverse    bool
	InitFile   *InitFile
}

// TrackProcess is a vrrp_track_process.
type TrackProcess struct {
	Block
	Name                      string
	Process                   []string // the name, then arguments
	ParamMatch                string   // "", initial or partial
	Weight                    int      // -254 to 254
	Reverse                   bool
	Quorum, QuorumMax         int // QuorumMax counts only where it is written
	Delay                     time.Duration
	ForkDelay, TerminateDelay time.Duration
	FullCommand               bool
}

// BFD is a bfd_instance (RFC 5880).
type BFD struct {
	Block
	Name                   string
	Neighbor, Source       netip.Addr
	MinRX, MinTX, IdleTX   time.Duration
	Multiplier             int
	Passive                bool
	TTL, HopLimit          uint8
	MaxHops                int // -1: any
	Multihop               bool
	Weight                 int // -253 to 253
	Reverse, VRRP, Checker bool
}

// SSL is the client's material of SSL_GET.
type SSL struct {
	Block
	Password, CA, Certificate, Key string
}

// TrackGroup names instances that fault when a tagged static object vanishes.
type TrackGroup struct {
	Block
	Name    string
	Members Names
}

// GARPGroup paces gratuitous ARP and unsolicited NA on interfaces.
type GARPGroup struct {
	Block
	GARPInterval, GNAInterval time.Duration
	Interface                 string
	Interfaces                Names
}

// SyncGroup is a vrrp_sync_group.
type SyncGroup struct {
	Block
	Name                                                        string
	Members                                                     Names
	TrackInterfaces, TrackScripts                               Tracks
	TrackFiles, TrackProcesses, TrackBFDs                       Tracks
	TrackingWeight                                              bool
	NotifyMaster, NotifyBackup, NotifyFault, NotifyStop, Notify *Command
	SMTPAlert, NotifyPriorityChanges                            bool
}

// Instance is a vrrp_instance.
type Instance struct {
	Block
	Name, Interface             string
	State                       State
	VRID, Priority              uint8
	Version                     uint8
	AdvertInterval              time.Duration // whole seconds in version 2, 10 ms in version 3
	NoPreempt                   bool
	PreemptDelay                time.Duration
	AuthType, AuthPass          string // "", PASS or AH; 8 bytes at most
	HMAC                        *HMAC
	Addresses, Excluded         Addresses
	NoVirtualAddress            bool
	Routes                      Routes
	Rules                       Rules
	McastSource                 netip.Addr
	McastDestination            netip.Addr
	UnicastSource               netip.Addr
	UnicastPeers                Peers
	UnicastFaultNoPeer          bool
	UnicastTTL                  uint8 // 0 without peers
	CheckUnicastSrc, TrackSrcIP bool
	V3ChecksumAsV2              bool
	OldUnicastChecksum          string // "", also where it is not written, or never
	TrackInterfaces             Tracks
	TrackScripts                Tracks
	TrackFiles                  Tracks
	TrackProcesses              Tracks
	TrackBFDs                   Tracks
	DontTrackPrimary            bool
	NoAccept                    bool
	PromoteSecondaries          bool
	UseVMAC                     *VMAC
	VMACXmitBase                bool
	LVSSyncDaemonInterface      string // see Global.LVSSyncDaemon

	NotifyMaster, NotifyBackup, NotifyFault, NotifyStop, Notify *Command
	NotifyMasterRxLowerPri, NotifyDeleted                       *Command
	NotifyPriorityChanges, SMTPAlert                            bool

	GARPMasterDelay         time.Duration
	GARPMasterRepeat        int
	GARPMasterRefresh       time.Duration
	GARPMasterRefreshRepeat int
	GARPLowerPrioDelay      time.Duration
	GARPLowerPrioRepeat     int
	DownTimerAdverts        int
	LowerPrioNoAdvert       bool
	HigherPrioSendAdvert    bool
	OwnerIgnoreAdverts      bool
	SkipCheckAdvAddr        bool
	TimerExpiredBackup      uint8 // priority of the presumed successor; 0: the keyword is not written
	Strict                  bool

	// Disabled says why the instance cannot be started, "" if it can.
	Disabled string

	grouped []string // interfaces of static entries, by track_group
}

// HMAC is the auth_hmac block of keepalived 2.4.
type HMAC struct {
	Block
	Keys       Keys
	ActiveKey  uint8
	TimeWindow time.Duration
	AntiReplay string // time or monotonic
	Mode       string // enforce, permissive or receive-only

	secrets map[uint8][]byte // what Keys stand for
}

// Policy is what the virtual servers do where the kernel has switches for all of them.
type Policy struct {
	Midstream               string // reset, drop or schedule
	ConnReuseMode           int    // 0, 1 or 2
	ExpireNodestConn        bool
	ExpireQuiescentTemplate bool
	CacheBypass             bool
}

// VirtualServer is a virtual_server: of one address and port, a firewall mark or a group.
type VirtualServer struct {
	Block
	Addr      netip.AddrPort // invalid for a mark or a group
	Fwmark    uint32         // of a service by mark
	ByMark    bool
	Group     string // of a service by virtual_server_group
	IPFamily  string // "", inet or inet6
	Protocol  Protocol
	DelayLoop time.Duration
	Scheduler Scheduler // lower case
	Method    Method
	OPS       bool
	Policy
	Dataplane          string // "", ring or ipvs; see InKernel
	SHPort, SHFallback bool
	MHPort, MHFallback bool
	Flag1, Flag2       bool
	Flag3              bool
	Persistence        PersistenceTimeout
	PersistenceMask    MaskLength // prefix length
	PersistenceEngine  string
	HASuspend          bool
	Alpha, Omega       bool
	InhibitOnFailure   bool
	SMTPAlert          bool
	Virtualhost        string
	Quorum, Hysteresis int
	QuorumUp           *Command
	QuorumDown         *Command
	SorryServer        *RealServer
	SorryServerInhibit bool
	SorryServerMethod  Method
	RealServers        []*RealServer
	Weight             int
	ConnectTimeout     time.Duration
	Retry              int
	DelayBeforeRetry   time.Duration
	Warmup             time.Duration

	// Disabled says why the service cannot be served, "" if it can.
	Disabled string

	members []Endpoint // of a group
	kernel  bool       // IPVS serves it
}

// InKernel tells whether the kernel's IPVS is to serve the service, and not the ring.
func (vs *VirtualServer) InKernel() bool { return vs.kernel }

// RealServer is a real_server, or the sorry_server.
type RealServer struct {
	Block
	Addr                   netip.AddrPort // of a group its port is that of checks, but with NAT
	Weight                 int
	Method                 Method
	UThreshold, LThreshold uint32
	InhibitOnFailure       bool
	Alpha                  bool
	SMTPAlert              bool
	Virtualhost            string
	NotifyUp, NotifyDown   *Command
	Checks                 []*Check

	DelayLoop, ConnectTimeout time.Duration
	DelayBeforeRetry, Warmup  time.Duration
	Retry                     int

	port uint16 // as it is written: checks go there where the service has none
}

// Check is a health check of a real server, every default resolved.
type Check struct {
	Block
	Kind             string         // the keyword: TCP_CHECK, HTTP_GET ...
	ServerWeight     int            // configured
	Connect          netip.AddrPort // from ConnectIP, ConnectPort and the server
	Bind             netip.AddrPort // from BindTo and BindPort
	ConnectIP        netip.Addr
	ConnectPort      uint16
	BindTo           netip.Addr
	BindPort         uint16
	BindInterface    string
	Fwmark           uint32
	ConnectTimeout   time.Duration
	DelayLoop        time.Duration
	Retry            int
	DelayBeforeRetry time.Duration
	Warmup           time.Duration
	Alpha            bool
	LogAllFailures   bool

	// HTTP_GET and SSL_GET
	Virtualhost, HTTPProtocol, SNIName string
	EnableSNI, FastRecovery            bool
	TLSCompliant                       bool
	URLs                               []*URL
	// SMTP_CHECK
	HeloName string
	Hosts    []*Check
	// DNS_CHECK
	DNSType DNSType
	DNSName DNSName
	// MISC_CHECK
	Account
	MiscPath    *Command
	MiscTimeout time.Duration
	MiscDynamic bool
	// UDP_CHECK
	Payload                        Hex
	RequireReply                   ReplyPattern
	MinReplyLength, MaxReplyLength int
	// BFD_CHECK, FILE_CHECK
	BFD, TrackFile string
	Weight         int
	Reverse        bool
}

// URL is one request of HTTP_GET or SSL_GET.
type URL struct {
	Block
	Path, Virtualhost              string
	Digests                        Digests
	StatusCodes                    StatusCodes
	Regex                          string
	RegexNoMatch                   bool
	RegexOptions                   []string
	RegexMinOffset, RegexMaxOffset int
	TLSCompliant                   bool
	SNI                            string // the name that is sent in TLS, "" for none
}
