//go:build unix

package sqlite_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
)

// BenchmarkFailures claims 40 deliveries of five endpoints that do not answer and stores that they timed
// out, for the first time or once more. The times are those of the processor, for a delivery.
func BenchmarkFailures(b *testing.B) {
	for _, again := range []bool{false, true} {
		b.Run("again="+strconv.FormatBool(again), func(b *testing.B) {
			st, err := sqlite.Open(filepath.Join(b.TempDir(), "webhooks.db"))
			require.NoError(b, err)
			defer func() { require.NoError(b, st.Close()) }()
			h := hanging{maker: &maker{t: b, st: st, now: start}, b: b}
			for range 5 {
				h.to = append(h.to, h.endpoint())
			}
			for range 50 {
				h.send()
				h.timeOut(h.claim(), 24*time.Hour)
			}
			retryIn := 24 * time.Hour
			if again {
				h.send()
				retryIn = time.Second
				h.timeOut(h.claim(), retryIn)
			}
			h.claiming, h.storing = 0, 0
			for b.Loop() {
				if !again {
					h.send()
				}
				h.now = h.now.Add(time.Second)
				h.timeOut(h.claim(), retryIn)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(h.claiming.Nanoseconds())/1000/float64(b.N)/hangingAtOnce, "claim-µs")
			b.ReportMetric(float64(h.storing.Nanoseconds())/1000/float64(b.N)/hangingAtOnce, "store-µs")
		})
	}
}

// hanging are endpoints that do not answer.
type hanging struct {
	*maker
	b                 *testing.B
	to                []string
	claiming, storing time.Duration
}

const hangingAtOnce = 40

func (h *hanging) send() {
	batch, generation := webhook.Batch{Now: h.now}, h.generation()
	for i := range hangingAtOnce {
		batch.Sends = append(batch.Sends, h.maker.send(generation, h.to[i%len(h.to)], ""))
	}
	_, err := h.st.Commit(h.b.Context(), batch)
	require.NoError(h.b, err)
}

func (h *hanging) claim() []webhook.Claim {
	before := cpu(h.b)
	r, err := h.st.Claim(h.b.Context(), webhook.ClaimRequest{
		Now: h.now, LeaseUntil: h.now.Add(time.Minute), Limit: hangingAtOnce, PerEndpoint: 8, Owner: "owner",
		NewAttemptID: func() string { return h.New(id.Attempt, h.now) },
	})
	h.claiming += cpu(h.b) - before
	require.NoError(h.b, err)
	require.Len(h.b, r.Claims, hangingAtOnce)
	return r.Claims
}

func (h *hanging) timeOut(claims []webhook.Claim, retryIn time.Duration) {
	batch := webhook.Batch{Now: h.now}
	for i := range claims {
		c := &claims[i]
		o := h.success(c.DeliveryID)
		o.Lease, o.State, o.NextAt, o.Failed = c.Lease, webhook.StateScheduled, h.now.Add(retryIn), c.Failed+1
		a := o.Attempt
		a.ID, a.Trigger, a.Status, a.ErrorCode, a.Error = h.New(id.Attempt, h.now), c.Trigger, webhook.AttemptFailed, webhook.CodeTimeout, "no response"
		a.StartedAt, a.DurationMS = h.now.Add(-10*time.Second), 10_000
		a.StatusCode, a.RespondedAt, a.ResponseHeaders, a.ResponseBodyPreview = nil, nil, nil, nil
		batch.Outcomes = append(batch.Outcomes, o)
	}
	before := cpu(h.b)
	r, err := h.st.Commit(h.b.Context(), batch)
	h.storing += cpu(h.b) - before
	require.NoError(h.b, err)
	for _, o := range r.Outcomes {
		require.True(h.b, o.Applied)
	}
}
