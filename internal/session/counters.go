package session

import "sync/atomic"

const counterBlock = 1 << 10

// counters counts the live sessions of each endpoint. A block of them is made when its first endpoint gets a session, so
// that a table with ten endpoints does not pay for a million. The counters lie close together because placing a session
// reads those of all the candidates; they are written only when a session begins, moves or ends.
type counters struct {
	blocks [MaxEndpoints / counterBlock]atomic.Pointer[[counterBlock]atomic.Int64]
}

func (c *counters) add(ep EndpointID, n int64) {
	b := &c.blocks[ep/counterBlock]
	if b.Load() == nil {
		b.CompareAndSwap(nil, new([counterBlock]atomic.Int64))
	}
	b.Load()[ep%counterBlock].Add(n)
}

func (c *counters) get(ep EndpointID) int {
	if ep >= MaxEndpoints {
		return 0
	}
	b := c.blocks[ep/counterBlock].Load()
	if b == nil {
		return 0
	}
	return int(b[ep%counterBlock].Load())
}
