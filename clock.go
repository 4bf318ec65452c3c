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
//
// Where the store has a clock that all processes share, that one is followed instead, in both directions.
type clock struct {
	wall    func() time.Time
	mono    func() time.Duration // since start
	start   time.Time
	adopted atomic.Int64 // nanoseconds that the wall clock gained and we followed, or that the store's clock is off
	skew    atomic.Int64 // nanoseconds that the wall clock was ahead when the store's clock was asked
	asked   atomic.Int64 // mono when the store's clock was asked; 0: never
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
	if gap := c.wall().Round(0).Sub(c.now()) - time.Duration(c.skew.Load()); gap > jumpTolerance {
		return gap
	}
	return 0
}

func (c *clock) adopt(gap time.Duration) { c.adopted.Add(int64(gap)) }

// follow takes over the time of a clock that is right.
func (c *clock) follow(now time.Time) {
	if gap := now.Sub(c.now()); gap > clockNoise || gap < -clockNoise {
		c.adopt(gap)
	}
	c.skew.Store(int64(c.wall().Round(0).Sub(c.now())))
	c.asked.Store(max(1, int64(c.mono())))
}
