package load_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/benchmarks/internal/load"
)

func TestPayload(t *testing.T) {
	for _, n := range []int{0, 7, 123456789} {
		before := time.Now()
		p := load.Payload(n, n == 7)
		require.Len(t, p, load.PayloadBytes)
		require.True(t, json.Valid(p), "%s", p)
		got, warm, at, err := load.Parse(p)
		require.NoError(t, err)
		require.Equal(t, n, got)
		require.Equal(t, n == 7, warm)
		require.WithinRange(t, at, before.Round(0), time.Now())
	}
	_, _, _, err := load.Parse([]byte("{}"))
	require.Error(t, err)
}

// fake delivers at once, and loses what it is told to lose.
type fake struct {
	counter        *load.Counter
	sent, recorded atomic.Int64
	forget         int64
}

func (f *fake) Send(_ context.Context, payloads [][]byte) error {
	f.sent.Add(int64(len(payloads)))
	f.counter.Add(len(payloads))
	f.recorded.Add(int64(len(payloads)))
	return nil
}

func (f *fake) Settle(context.Context) error { return nil }

func (f *fake) Recorded(context.Context) (int, error) { return int(f.recorded.Load() - f.forget), nil }

func (f *fake) Close() error { return nil }

func newFake(t *testing.T, task *load.Task) *fake {
	task.Counter = filepath.Join(t.TempDir(), "arrived")
	c, err := load.OpenCounter(task.Counter)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	c.Add(1000) // of others, before
	return &fake{counter: c}
}

func TestMeasureFlatOut(t *testing.T) {
	task := load.Task{Warm: 20 * time.Millisecond, Measure: 100 * time.Millisecond, Callers: 4, Batch: 3, Window: 12,
		Profile: filepath.Join(t.TempDir(), "profile")}
	f := newFake(t, &task)
	r, err := load.Measure(t.Context(), &task, f)
	require.NoError(t, err)
	require.Equal(t, int(f.sent.Load()), r.Warm+r.Sent)
	require.Positive(t, r.Warm)
	require.Positive(t, r.Sent)
	require.GreaterOrEqual(t, r.Elapsed, task.Measure)
	require.Positive(t, r.CPU)
	require.FileExists(t, task.Profile)
}

func TestMeasurePaced(t *testing.T) {
	task := load.Task{Warm: 20 * time.Millisecond, Measure: 200 * time.Millisecond, Rate: 100}
	f := newFake(t, &task)
	r, err := load.Measure(t.Context(), &task, f)
	require.NoError(t, err)
	require.Equal(t, 20, r.Sent)
	require.Len(t, r.Send, 20)
}

func TestMeasureTellsWhatIsNotOnRecord(t *testing.T) {
	task := load.Task{Warm: 10 * time.Millisecond, Measure: 10 * time.Millisecond, Rate: 1000}
	f := newFake(t, &task)
	f.forget = 1
	_, err := load.Measure(t.Context(), &task, f)
	require.ErrorContains(t, err, "20 deliveries were sent and 19 are on record")
}

func TestCPU(t *testing.T) {
	before, err := load.OwnCPU()
	require.NoError(t, err)
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
		_ = load.Payload(1, false)
	}
	after, err := load.OwnCPU()
	require.NoError(t, err)
	require.Greater(t, after, before)
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		server, err := load.ServerCPU(os.Getpid())
		require.NoError(t, err)
		require.InDelta(t, after.Seconds(), server.Seconds(), 0.5)
	}
	none, err := load.ServerCPU(0)
	require.NoError(t, err)
	require.Zero(t, none)
}

func TestPercentile(t *testing.T) {
	var values []time.Duration
	for i := range 200 {
		values = append(values, time.Duration(200-i))
	}
	require.EqualValues(t, 101, load.Percentile(values, 50))
	require.EqualValues(t, 199, load.Percentile(values, 99))
	require.EqualValues(t, 200, load.Percentile(values, 100))
	require.Zero(t, load.Percentile(nil, 50))
}
