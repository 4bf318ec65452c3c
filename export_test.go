package webhook

import "time"

// SetWall gives a dispatcher another wall clock than the machine's.
func SetWall(d *Dispatcher, wall func() time.Time) { d.clock.wall = wall }
