package forward

import (
	"time"

	"github.com/ringkeep/ringkeep/proto"
)

// state of a connection as a director sees it. UDP has one; those of SCTP are fewer than
// in IPVS, with its timeouts.
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
	stInit1
	stAssociated
	stShutdown
	stClosed
)

var stateNames = [...]string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
	"LAST_ACK", "LISTEN", "SYNACK", "UDP", "INIT1", "ESTABLISHED", "SHUTDOWN_SENT", "CLOSED",
}

// defaultTimeouts are those of IPVS: how long an entry lives without a packet.
var defaultTimeouts = [...]time.Duration{
	stNone: 2 * time.Second, stEstablished: 900 * time.Second, stSynSent: 120 * time.Second,
	stSynRecv: 60 * time.Second, stFinWait: 120 * time.Second, stTimeWait: 120 * time.Second,
	stClose: 10 * time.Second, stCloseWait: 60 * time.Second, stLastAck: 30 * time.Second,
	stListen: 120 * time.Second, stSynAck: 120 * time.Second, stUDP: 300 * time.Second,
	stInit1: 4 * time.Second, stAssociated: 900 * time.Second, stShutdown: 61 * time.Second, stClosed: 61 * time.Second,
}

// templateGrace is by how much a template outlives its timeout while connections
// that it placed live.
const templateGrace = 60 * time.Second

// active tells which states count as active connections; half-open ones do.
func (s state) active() bool {
	return s == stEstablished || s == stSynSent || s == stSynRecv || s == stSynAck || s == stAssociated
}

// halfOpen tells which states a flood leaves behind.
func (s state) halfOpen() bool { return s == stSynRecv || s == stSynAck || s == stInit1 }

// transitions are the next state by the current one, for each event of one direction.
type transitions struct{ syn, fin, ack, rst [stSynAck + 1]state }

// The tables of IPVS: of the client's segments, of the server's, and of the client's where
// the server's do not come by.
var (
	input = transitions{
		syn: [...]state{stSynRecv, stEstablished, stEstablished, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv, stSynRecv},
		fin: [...]state{stClose, stCloseWait, stSynSent, stTimeWait, stTimeWait, stTimeWait, stClose, stCloseWait, stLastAck, stListen, stTimeWait},
		ack: [...]state{stEstablished, stEstablished, stSynSent, stEstablished, stFinWait, stTimeWait, stClose, stCloseWait, stClose, stListen, stEstablished},
		rst: [...]state{stClose, stClose, stClose, stSynRecv, stClose, stClose, stClose, stClose, stLastAck, stListen, stSynRecv},
	}
	output = transitions{
		syn: [...]state{stSynSent, stEstablished, stSynSent, stSynRecv, stSynSent, stSynSent, stSynSent, stSynSent, stSynSent, stListen, stSynRecv},
		fin: [...]state{stTimeWait, stFinWait, stSynSent, stTimeWait, stFinWait, stTimeWait, stClose, stTimeWait, stLastAck, stListen, stTimeWait},
		ack: [...]state{stEstablished, stEstablished, stSynSent, stEstablished, stFinWait, stTimeWait, stClose, stCloseWait, stLastAck, stEstablished, stEstablished},
		rst: [...]state{stClose, stClose, stSynSent, stClose, stClose, stTimeWait, stClose, stClose, stClose, stClose, stClose},
	}
	onlyInput = transitions{
		syn: input.syn,
		fin: [...]state{stClose, stFinWait, stSynSent, stTimeWait, stFinWait, stTimeWait, stClose, stCloseWait, stLastAck, stListen, stTimeWait},
		ack: input.ack,
		rst: [...]state{stClose, stClose, stClose, stSynRecv, stClose, stClose, stClose, stClose, stLastAck, stListen, stClose},
	}
)

// next is the state after a segment with these flags. RST counts before SYN, FIN and
// ACK; a segment with none of them closes.
func (t *transitions) next(s state, flags uint8) state {
	switch {
	case flags&proto.TCPRst != 0:
		return t.rst[s]
	case flags&proto.TCPSyn != 0:
		return t.syn[s]
	case flags&proto.TCPFin != 0:
		return t.fin[s]
	case flags&proto.TCPAck != 0:
		return t.ack[s]
	}
	return stClose
}

// Types of SCTP's chunks (RFC 9260 §3.2).
const (
	sctpInit             = 1
	sctpAbort            = 6
	sctpShutdown         = 7
	sctpShutdownAck      = 8
	sctpShutdownComplete = 14
)

// nextSCTP is the state after a packet whose first chunk is of a type.
func nextSCTP(s state, chunk uint8) state {
	switch chunk {
	case sctpInit:
		return stInit1
	case sctpAbort, sctpShutdownComplete:
		return stClosed
	case sctpShutdown, sctpShutdownAck:
		return stShutdown
	}
	if s == stShutdown || s == stClosed {
		return s
	}
	return stAssociated
}
