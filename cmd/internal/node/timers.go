package node

import "time"

// timers is an indexed binary heap of deadlines. Every owner has one timer at
// most, known by the number that add gave it.
type timers struct {
	at   []time.Duration // by owner
	pos  []int           // by owner: place in heap, -1 without a timer
	heap []int           // owners, the earliest first
}

// add makes an owner without a timer and returns its number.
func (t *timers) add() int {
	t.at = append(t.at, 0)
	t.pos = append(t.pos, -1)
	return len(t.at) - 1
}

// next tells which owner is due first.
func (t *timers) next() (owner int, at time.Duration, ok bool) {
	if len(t.heap) == 0 {
		return 0, 0, false
	}
	return t.heap[0], t.at[t.heap[0]], true
}

// set arms or moves the timer of owner.
func (t *timers) set(owner int, at time.Duration) {
	t.at[owner] = at
	if t.pos[owner] < 0 {
		t.pos[owner] = len(t.heap)
		t.heap = append(t.heap, owner)
	}
	t.up(t.pos[owner])
	t.down(t.pos[owner])
}

// clear disarms the timer of owner, if it has one.
func (t *timers) clear(owner int) {
	i := t.pos[owner]
	if i < 0 {
		return
	}
	last := len(t.heap) - 1
	t.swap(i, last)
	t.heap = t.heap[:last]
	t.pos[owner] = -1
	if i < last {
		t.up(i)
		t.down(i)
	}
}

// less puts the older owner first where both are due at one time.
func (t *timers) less(i, j int) bool {
	a, b := t.heap[i], t.heap[j]
	return t.at[a] < t.at[b] || t.at[a] == t.at[b] && a < b
}

func (t *timers) swap(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.pos[t.heap[i]], t.pos[t.heap[j]] = i, j
}

func (t *timers) up(i int) {
	for i > 0 && t.less(i, (i-1)/2) {
		t.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (t *timers) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(t.heap) {
			return
		}
		if child+1 < len(t.heap) && t.less(child+1, child) {
			child++
		}
		if !t.less(child, i) {
			return
		}
		t.swap(i, child)
		i = child
	}
}
