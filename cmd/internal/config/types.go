package config

import (
	"net/netip"
	"time"
)

// Config is a file with every default resolved. What it points to is not changed
// after it was read.
type Config struct {
	Global         Global
	Scripts        []*Script
	Instances      []*Instance
	VirtualServers []*VirtualServer
}

// Global is global_defs.
type Global struct {
	RouterID              string
	NotificationEmail     []string
	NotificationEmailFrom string
	SMTPServer            string
	SMTPConnectTimeout    time.Duration

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
	GARPLowerPrioDelay      time.Duration // -1: as GARPMasterDelay
	GARPLowerPrioRepeat     int           // -1: as GARPMasterRepeat
	DownTimerAdverts        int
	StartupDelay            time.Duration
	LowerPrioNoAdvert       bool
	HigherPrioSendAdvert    bool

	ScriptUser, ScriptGroup string
	EnableScriptSecurity    bool
}

// Script is a vrrp_script.
type Script struct {
	Pos
	Name              string
	Args              []string
	Interval, Timeout time.Duration
	Rise, Fall        int
	Weight            int // -253 to 253; 0: failure is a FAULT
	Reverse, InitFail bool
	User, Group       string
}

// Instance is a vrrp_instance.
type Instance struct {
	Pos
	Name, State, Interface string
	InterfacePos           Pos // where the interface is named
	VRID, Priority         uint8
	Version                uint8
	AdvertInterval         time.Duration // whole seconds in version 2, 10 ms in version 3
	NoPreempt              bool
	PreemptDelay           time.Duration
	AuthType, AuthPass     string // "" or PASS; 8 bytes at most
	Addresses, Excluded    []Address
	McastSource            netip.Addr
	UnicastSource          netip.Addr
	UnicastPeers           []netip.Addr
	TrackInterfaces        []Track
	TrackScripts           []Track
	DontTrackPrimary       bool

	NotifyMaster, NotifyBackup, NotifyFault, NotifyStop, Notify *Command

	GARPMasterDelay         time.Duration
	GARPMasterRepeat        int
	GARPMasterRefresh       time.Duration
	GARPMasterRefreshRepeat int
	GARPLowerPrioDelay      time.Duration
	GARPLowerPrioRepeat     int
	DownTimerAdverts        int
	StartupDelay            time.Duration
	LowerPrioNoAdvert       bool
	HigherPrioSendAdvert    bool
	SkipCheckAdvAddr        bool
	Strict                  bool
}

// Address is a virtual address as it is put on an interface. Device is "" for the
// interface of the instance.
type Address struct {
	Pos
	Prefix        netip.Prefix // the address, not masked; /32 if none is written
	Device, Label string
	Scope         uint8 // rt_scope: 0 global, 253 link, 254 host
	Broadcast     netip.Addr
}

// Command is a script with its arguments and the user that it runs as ("" for the
// default).
type Command struct {
	Pos
	Args        []string
	User, Group string
}

// Track is a line of track_interface or track_script.
type Track struct {
	Pos
	Name    string
	Weight  int
	Reverse bool
}

// VirtualServer is a virtual_server of one address and port.
type VirtualServer struct {
	Pos
	Addr               netip.AddrPort
	Protocol           uint8 // IP protocol number
	DelayLoop          time.Duration
	Scheduler, Method  string // lower case; DR, NAT or TUN
	Persistence        time.Duration
	PersistenceMask    int // prefix length
	HASuspend          bool
	Alpha, Omega       bool
	InhibitOnFailure   bool
	Virtualhost        string
	Quorum, Hysteresis int
	QuorumUp           *Command
	QuorumDown         *Command
	SorryServer        *RealServer
	RealServers        []*RealServer
	connectTimeout     time.Duration
	retry              int // -1: not set
	delayBeforeRetry   time.Duration
	warmup             time.Duration
	weight             int
}

// RealServer is a real_server, or the sorry_server.
type RealServer struct {
	Pos
	Addr                 netip.AddrPort
	Weight               int
	InhibitOnFailure     bool
	Alpha                bool
	NotifyUp, NotifyDown *Command
	Checks               []*Check

	delayLoop, connectTimeout, delayBeforeRetry, warmup time.Duration
	retry                                               int
}

// Check is a health check of a real server, every default resolved.
type Check struct {
	Pos
	Kind             string // TCP_CHECK
	Connect          netip.AddrPort
	Bind             netip.AddrPort
	BindInterface    string
	ConnectTimeout   time.Duration
	DelayLoop        time.Duration
	Retry            int
	DelayBeforeRetry time.Duration
	Warmup           time.Duration
	Alpha            bool
}
