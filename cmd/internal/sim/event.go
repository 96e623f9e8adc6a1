package sim

import "time"

// event is something that will happen. Which fields mean anything depends on what.
type event struct {
	at    time.Duration
	seq   uint64 // of two events at one time the older goes first
	what  uint8
	host  *host
	nic   *nic
	frame []byte
	flow  *flow
	from  *host // whose advertisement the frame is
	n     int   // its VRID and priority; the number of a check or script
	gen   int
}

const (
	arrive   uint8 = iota // frame at nic
	process               // frame of nic at its node: the process was woken
	tick                  // the deadline of the node of host
	checked               // check n of the node of host ends
	scripted              // script n of the node of host ends
	flowing               // flow sends its next question
	played                // nic sends frame, which a capture has
	starved               // the node of host stands still, or goes on
	resolve               // an ARP entry of nic is due
	datagram              // frame, a packet of BFD, at the node of host: the process was woken
)

// queue is a heap of events.
type queue []event

func (q queue) less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}

func (q *queue) push(e event) {
	*q = append(*q, e)
	for i := len(*q) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.less(i, up) {
			return
		}
		(*q)[i], (*q)[up] = (*q)[up], (*q)[i]
		i = up
	}
}

func (q *queue) pop() event {
	old := *q
	top, last := old[0], len(old)-1
	old[0] = old[last]
	old[last] = event{}
	*q = old[:last]
	for i := 0; ; {
		least := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < last && q.less(down, least) {
				least = down
			}
		}
		if least == i {
			return top
		}
		(*q)[i], (*q)[least] = (*q)[least], (*q)[i]
		i = least
	}
}
