package load

import (
	"context"
	"time"
)

// Sender is a contender at work, in a process of its own.
type Sender interface {
	// Send hands over payloads for delivery, one each. When it returns they are as safe as the contender makes
	// them; one that stores nothing has delivered them.
	Send(ctx context.Context, payloads [][]byte) error
	// Settle waits until the results of all deliveries are recorded. Nothing is sent afterwards.
	Settle(ctx context.Context) error
	// Recorded asks the contender's own records how many deliveries have succeeded.
	Recorded(ctx context.Context) (int, error)
	Close() error
}

// Task tells a sender's process what to do.
type Task struct {
	Contender string
	Dir       string // an empty directory on the disk to be measured
	Receiver  string // host:port
	Counter   string // path of the file that counts what has arrived
	Postgres  string // connection string of an empty database
	Redis     string // path of its socket
	ServerPID int    // of the database server, 0 without one

	Warm, Measure time.Duration
	Rate          int // Sends a second, each alone, whatever became of the last one; 0: as fast as it goes

	// As fast as it goes:
	Callers int // that send at the same time
	Batch   int // payloads a Send
	Window  int // at most so many deliveries between Send and receipt

	Params  map[string]int
	Profile string // file for a CPU profile of the measured time; empty: none
}

// Result is what a sender's process has measured.
type Result struct {
	Warm, Sent     int
	Elapsed        time.Duration // from the first Send to the last receipt
	CPU, ServerCPU time.Duration // until every result was recorded
	Send           []time.Duration
	Figures        map[string]float64 // of tasks that measure something else
}
