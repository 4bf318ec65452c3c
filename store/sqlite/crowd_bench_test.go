//go:build unix

package sqlite_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
)

// crowd is a database with many endpoints that each wait for a retry, and one that is paused with a
// backlog. Ten others get what is sent, and 50 what is claimed.
type crowd struct {
	*maker
	b        *testing.B
	st       *sqlite.Store
	d        *webhook.Dispatcher
	busy     []string
	waiting  int
	took     []time.Duration
	computed []time.Duration
}

func newCrowd(b *testing.B, endpoints, backlog int) *crowd {
	st, err := sqlite.Open(filepath.Join(b.TempDir(), fmt.Sprint(endpoints, ".db")))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	c := &crowd{maker: &maker{t: b, st: st, now: start}, b: b, st: st, waiting: endpoints}
	paused := c.endpoint()
	fill(b, st, backlog, endpoints)
	_, err = st.UpdateEndpoint(b.Context(), paused, func(row *webhook.EndpointRow) error {
		row.State = webhook.EndpointPaused
		return nil
	})
	require.NoError(b, err)
	made := func(eventType string) string {
		e, err := c.d.CreateEndpoint(b.Context(), webhook.Endpoint{URL: "https://example.com/", EventTypes: []string{eventType}})
		require.NoError(b, err)
		return e.ID
	}
	open := func() {
		c.d, err = webhook.New(st, webhook.Config{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(b, err)
	}
	open()
	made("invoice.paid")
	// All that wait want something else, too. A dispatcher that has read them would not notice.
	_, err = st.DB().Exec(`UPDATE webhook_endpoint SET config = pattern.config
		FROM (SELECT config FROM webhook_endpoint ORDER BY num DESC LIMIT 1) AS pattern`)
	require.NoError(b, err)
	open()
	for range 10 {
		made("order.created")
	}
	for range 50 {
		c.busy = append(c.busy, made("only.claimed"))
	}
	return c
}

// timed keeps what a call took.
func (c *crowd) timed(call func()) {
	used, began := cpu(c.b), time.Now()
	call()
	c.took, c.computed = append(c.took, time.Since(began)), append(c.computed, cpu(c.b)-used)
}

// fanOut sends an event that ten endpoints want.
func (c *crowd) fanOut() {
	c.timed(func() {
		r, err := c.d.Send(c.b.Context(), webhook.Event{Type: "order.created", Payload: payload})
		require.NoError(c.b, err)
		require.Len(c.b, r.DeliveryIDs, 10)
	})
}

// claim takes one due delivery of each of 50 endpoints.
func (c *crowd) claim() {
	c.now = c.now.Add(time.Millisecond)
	batch, generation := webhook.Batch{Now: c.now}, c.generation()
	for _, endpointID := range c.busy {
		batch.Sends = append(batch.Sends, c.send(generation, endpointID, ""))
	}
	_, err := c.st.Commit(c.b.Context(), batch)
	require.NoError(c.b, err)
	c.timed(func() {
		r, err := c.st.Claim(c.b.Context(), webhook.ClaimRequest{
			Now: c.now, LeaseUntil: c.now.Add(time.Hour), Limit: 60, PerEndpoint: 8, Owner: "owner",
			NewAttemptID: func() string { return c.New(id.Attempt, c.now) },
		})
		require.NoError(c.b, err)
		require.Len(c.b, r.Claims, 50)
	})
}

// BenchmarkCrowd shows that neither a claim nor a fan-out gets slower with the number of endpoints and
// with what must be skipped: 100 endpoints beside a backlog of a thousand, in turn with 100,000 beside one
// of a million. The metrics are medians, and their ratio.
func BenchmarkCrowd(b *testing.B) {
	few, many := newCrowd(b, 100, 1000), newCrowd(b, 100_000, 1_000_000)
	for _, c := range []struct {
		name string
		do   func(*crowd)
	}{{"claim", (*crowd).claim}, {"fan-out", (*crowd).fanOut}} {
		b.Run(c.name, func(b *testing.B) {
			for _, side := range []*crowd{few, many} {
				side.b, side.t = b, b
				c.do(side) // what is read once is read
				side.took, side.computed = nil, nil
			}
			for n := 0; b.Loop(); n++ {
				for i := range 2 { // neither always comes first
					c.do([]*crowd{few, many}[(n+i)%2])
				}
			}
			for _, side := range []*crowd{few, many} {
				b.ReportMetric(float64(middle(side.took).Microseconds()), fmt.Sprintf("µs-of-%d", side.waiting))
			}
			b.ReportMetric(float64(middle(many.took))/float64(middle(few.took)), "ratio")
			b.ReportMetric(float64(sum(many.computed))/float64(sum(few.computed)), "cpu-ratio")
		})
	}
}

func middle(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func sum(d []time.Duration) (all time.Duration) {
	for _, one := range d {
		all += one
	}
	return all
}
