package forward

import (
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// state of a TCP connection as a director sees it that sees the client's side only
// (IPVS: input-only, as with DR). UDP has one state.
type state uint8

const (
	stNone state = iota
	stEstablished
	stSynSent
	stSynRecv
	stFinWait
	stTimeWait
	stClose
	stCloseWait
	stLastAck
	stListen
	stSynAck
	stUDP
)

var stateNames = [...]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
	"LAST_ACK", "LISTEN", "SYNACK", "UDP",
}

// timeouts are IPVS' defaults: how long an entry lives without a packet.
var timeouts = [...]time.Duration{
	stNone: 2 * time.Second, stEstablished: 900 * time.Second, stSynSent: 120 * time.Second,
	stSynRecv: 60 * time.Second, stFinWait: 120 * time.Second, stTimeWait: 120 * time.Second,
	stClose: 10 * time.Second, stCloseWait: 60 * time.Second, stLastAck: 30 * time.Second,
	stListen: 120 * time.Second, stSynAck: 120 * time.Second, stUDP: 300 * time.Second,
}

// templateGrace is by how much a template outlives its timeout while connections
// that it placed live.
const templateGrace = 60 * time.Second

// active tells which states count as active connections; half-open ones do.
func (s state) active() bool {
	return s == stEstablished || s == stSynSent || s == stSynRecv || s == stSynAck
}

// The input-only table: for each event the next state by the current one.
var (
	onSyn = [...]state{stSynRecv, stEstablished, stEstablished, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv}
	onFin = [...]state{stClose, stFinWait, stSynSent, stTimeWait, stFinWait, stTimeWait, stClose, stCloseWait, stLastAck, stListen, stTimeWait}
	onAck = [...]state{stEstablished, stEstablished, stSynSent, stEstablished, stFinWait, stTimeWait, stClose, stCloseWait, stClose, stListen, stEstablished}
	onRst = [...]state{stClose, stClose, stClose, stSynRecv, stClose, stClose, stClose, stClose, stLastAck, stListen, stClose}
)

// next is the state after a segment with these flags. RST counts before SYN, FIN and
// ACK; a segment with none of them closes.
func (s state) next(flags uint8) state {
	switch {
	case flags&proto.TCPRst != 0:
		return onRst[s]
	case flags&proto.TCPSyn != 0:
		return onSyn[s]
	case flags&proto.TCPFin != 0:
		return onFin[s]
	case flags&proto.TCPAck != 0:
		return onAck[s]
	}
	return stClose
}
