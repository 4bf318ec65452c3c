package sqlite_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

// answering is a receiver without a network: what is measured is the store.
type answering struct{}

func (answering) Do(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
}

const (
	latencyRate   = 200 // a second
	latencyRounds = 5
	latencyCalls  = 300 // in a round
)

// BenchmarkSendLatency is how long a Send takes at 200 a second, with their deliveries going on beside it,
// in comparison to a bare write of 16 KB over a file and fdatasync. Both take turns; the ratios are those
// of the medians of all rounds.
func BenchmarkSendLatency(b *testing.B) {
	st, err := sqlite.Open(filepath.Join(b.TempDir(), "webhooks.db"))
	require.NoError(b, err)
	d, err := webhook.New(st, webhook.Config{HTTPClient: answering{}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	_, err = d.CreateEndpoint(b.Context(), webhook.Endpoint{URL: "https://example.com"})
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		stop()
		require.NoError(b, <-ended)
		require.NoError(b, st.Close())
	}()
	bare, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	require.NoError(b, err)
	defer bare.Close()
	_, err = bare.Write(make([]byte, 16<<20))
	require.NoError(b, err)
	require.NoError(b, bare.Sync())
	block := make([]byte, 16<<10)

	var writes, sends rounds
	for range b.N {
		for range latencyRounds {
			writes.add(openLoop(b, func(i int) error {
				_, err := bare.WriteAt(block, int64(i)*int64(len(block)))
				return errors.Join(err, syscall.Fdatasync(int(bare.Fd())))
			}))
			sends.add(openLoop(b, func(int) error {
				_, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: payload})
				return err
			}))
		}
	}
	b.ReportMetric(sends.median(50).Seconds()*1e6, "µs-p50")
	b.ReportMetric(sends.median(99).Seconds()*1e6, "µs-p99")
	b.ReportMetric(float64(sends.median(50))/float64(writes.median(50)), "p50/bare")
	b.ReportMetric(float64(sends.median(99))/float64(writes.median(99)), "p99/bare")
	b.ReportMetric(0, "ns/op")
}

// openLoop calls at a steady rate, whether or not the calls before have returned, and counts from when a
// call was to begin.
func openLoop(b *testing.B, call func(i int) error) []time.Duration {
	took := make([]time.Duration, latencyCalls)
	done := make(chan error)
	tick := time.NewTicker(time.Second / latencyRate)
	defer tick.Stop()
	for i := range took {
		began := <-tick.C
		go func() {
			err := call(i)
			took[i] = time.Since(began)
			done <- err
		}()
	}
	for range took {
		require.NoError(b, <-done)
	}
	return took
}

// rounds are those of each round.
type rounds [][]time.Duration

func (q *rounds) add(round []time.Duration) {
	slices.Sort(round)
	*q = append(*q, round)
}

// median returns the median over the rounds of a percentile.
func (q rounds) median(percent int) time.Duration {
	var of []time.Duration
	for _, round := range q {
		of = append(of, round[len(round)*percent/100])
	}
	slices.Sort(of)
	return of[len(of)/2]
}
