package model

import (
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/proto"
)

// seldom is the longest interval that a packet of BFD can tell: the neighbour of a model is
// taken to be there, and takes no time.
const seldom = (1<<32 - 1) * time.Microsecond

// speaking makes every session of a model one that begins to speak.
func speaking(list []*config.BFD) (out []*config.BFD) {
	for _, c := range list {
		one := *c
		one.Passive = false
		out = append(out, &one)
	}
	return out
}

// agreed is what the neighbour says to a packet: that the session is to be Up.
func agreed(a node.SendBFD) (node.BFDHeard, bool) {
	p, err := proto.ParseBFD(a.Payload)
	if err != nil || a.Last {
		return node.BFDHeard{}, false
	}
	m := proto.BFDMessage{State: proto.BFDUp, Final: p.Poll(), Multiplier: 255, Mine: 1, Yours: p.Mine(), MinTX: seldom, MinRX: seldom}
	if p.State() == proto.BFDDown {
		m.State = proto.BFDInit
	}
	return node.BFDHeard{From: a.To, To: a.From, TTL: a.TTL, Multihop: a.Multihop, Payload: m.Append(nil)}, true
}
