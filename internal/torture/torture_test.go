package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if runAsChild() {
		return
	}
	os.Exit(m.Run())
}

// These runs are short; CI has a few hundred milliseconds for each cycle. The command does any number.

func TestSIGKILL(t *testing.T) {
	f := run(t, func(o *options) { o.Cycles, o.TakeOver = 25, takeOverInCI })
	require.Positive(t, f.Interrupted, "no kill hit an attempt")
	require.Positive(t, f.Resent, "no kill hit a Send")
	require.Positive(t, f.Rescued)
}

// A second of a machine's own is too little on one shared with other tests.
const takeOverInCI = 15 * time.Second

func TestSIGTERM(t *testing.T) {
	f := run(t, func(o *options) { o.Cycles, o.Term, o.TakeOver = 8, true, takeOverInCI })
	require.Positive(t, f.Drain)
}

func TestTwoProcesses(t *testing.T) {
	run(t, func(o *options) { o.Cycles, o.Procs = 16, 2 })
}

func TestBusy(t *testing.T) {
	run(t, func(o *options) { o.Cycles, o.Busy, o.MaxLife = 8, true, 2*time.Second })
}

func run(t *testing.T, set func(*options)) *figures {
	t.Helper()
	o := defaults()
	set(&o)
	f, err := torture(t.Context(), o)
	var table bytes.Buffer
	f.print(&table, o)
	t.Log("\n" + table.String())
	require.NoError(t, err)
	require.GreaterOrEqual(t, f.Cycles, o.Cycles)
	require.Positive(t, f.Requests)
	require.Zero(t, f.Lost+f.Stuck)
	return f
}

// Four processes on one PostgreSQL, killed and stopped, while the server crashes under them.
func TestPostgres(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("SKIPPED: it takes most of a minute, and the race detector is too slow for it")
	}
	f := run(t, func(o *options) {
		o.Postgres, o.Procs, o.Cycles, o.Load = true, 4, 28, 15
		o.MinLife, o.MaxLife, o.CrashEvery = 3*time.Second, 7*time.Second, 8*time.Second
		o.StopFor, o.TakeOver = pgLease+time.Second, pgLease+35*time.Second // the machine is shared with other tests
	})
	require.Zero(t, f.Overlaps)
	require.Positive(t, f.Crashes)
	require.Positive(t, f.Terminated)
	require.Positive(t, f.Fenced, "no result came late: the fence was not put to the test")
}
