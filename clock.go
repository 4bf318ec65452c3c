package webhook

import (
	"sync/atomic"
	"time"
)

// clock is what all due times and leases go by: the wall clock at the start plus monotonic time since.
// It never runs backwards, and a wall clock that is set, in either direction, does not touch it. A wall
// clock that ran ahead (the machine slept, or was set forward) is followed by adopt, when that cannot
// make our own leases look dead. One that was set back is not followed until the process starts anew:
// what was due would wait that much longer.
type clock struct {
	wall    func() time.Time
	mono    func() time.Duration // since start
	start   time.Time
	adopted atomic.Int64 // nanoseconds that the wall clock gained and we followed
}

// jumpTolerance is what NTP may slew, and a busy machine delay, without a word.
const jumpTolerance = 2 * time.Second

func newClock() *clock {
	start := time.Now()
	return &clock{
		wall:  time.Now,
		mono:  func() time.Duration { return time.Since(start) },
		start: start,
	}
}

func (c *clock) now() time.Time {
	return micros(c.start.Round(0).Add(c.mono() + time.Duration(c.adopted.Load())))
}

// behind is how much the wall clock is ahead of ours, if that is more than tolerated.
func (c *clock) behind() time.Duration {
	if gap := c.wall().Round(0).Sub(c.now()); gap > jumpTolerance {
		return gap
	}
	return 0
}

func (c *clock) adopt(gap time.Duration) { c.adopted.Add(int64(gap)) }
