//go:build unix

package sqlite_test

import (
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
)

// BenchmarkIndexes measures what indexes cost: the same batches are committed to two copies of a
// database, see openLarge, of which one lacks them, in turns. 64 fresh deliveries to as many
// endpoints go in, of 64 or of 100,000 in all, then what became of them: success, a failure to be
// retried, or the end after one.
//
//	go test -run - -bench Indexes -benchtime 15x
func BenchmarkIndexes(b *testing.B) {
	st, l := openLarge(b)
	var generation int64
	require.NoError(b, st.DB().QueryRow(`SELECT value FROM webhook_meta WHERE name = 'generation'`).Scan(&generation))
	_, err := st.DB().Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	require.NoError(b, err)
	for _, group := range indexGroups {
		p := pair{large: l, generation: generation, of: [2]*sqlite.Store{l.without(b, nil), l.without(b, group.indexes)}}
		p.Generator.New(id.Event, l.until)
		for _, of := range []int{64, largeEnds} {
			for _, end := range []string{"success", "failure", "end"} {
				b.Run(fmt.Sprintf("%s/%s/of=%d", group.name, end, of), func(b *testing.B) {
					var with, more, ratio []float64
					for b.Loop() {
						spent := p.round(b, end, of)
						with, more = append(with, spent[0]), append(more, spent[0]-spent[1])
						ratio = append(ratio, spent[0]/spent[1])
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(median(with), "µs-with")
					b.ReportMetric(median(more), "µs-more")
					b.ReportMetric(median(ratio), "ratio")
				})
			}
		}
		for _, st := range p.of {
			require.NoError(b, st.Close())
		}
	}
}

// indexGroups are indexes that serve alike; one alone is below what can be measured.
var indexGroups = []struct {
	name    string
	indexes []string
}{
	{"nothing", nil},
	{"lists of events and deliveries", []string{"webhook_event_tenant", "webhook_event_type", "webhook_event_tenant_type"}},
	{"deliveries of an endpoint", []string{"webhook_delivery_endpoint", "webhook_delivery_own"}},
	{"queue", []string{"webhook_delivery_pending"}},
	{"lists of what is pending", []string{"webhook_delivery_waiting", "webhook_delivery_waiting_tenant", "webhook_delivery_waiting_endpoint"}},
	{"lists of attempts", []string{"webhook_attempt_endpoint", "webhook_attempt_tenant"}},
	{"attempts of a delivery", []string{"webhook_attempt_lease"}},
	{"failed deliveries", []string{"webhook_delivery_failed", "webhook_delivery_failed_tenant", "webhook_delivery_failed_endpoint"}},
	{"error codes of deliveries", []string{"webhook_delivery_last", "webhook_delivery_last_tenant", "webhook_delivery_last_endpoint",
		"webhook_delivery_end", "webhook_delivery_end_tenant", "webhook_delivery_end_endpoint"}},
	{"failed attempts and their codes", []string{"webhook_attempt_status", "webhook_attempt_status_tenant", "webhook_attempt_status_endpoint",
		"webhook_attempt_code", "webhook_attempt_code_tenant", "webhook_attempt_code_endpoint"}},
	{"what is odd or apart", []string{"webhook_event_odd", "webhook_delivery_odd", "webhook_attempt_odd",
		"webhook_delivery_apart", "webhook_delivery_apart_tenant", "webhook_delivery_apart_type"}},
}

// without opens a copy of the database that lacks some indexes.
func (l large) without(b *testing.B, indexes []string) *sqlite.Store {
	path := b.TempDir() + "/copy.db"
	from, err := os.Open(l.path)
	require.NoError(b, err)
	to, err := os.Create(path)
	require.NoError(b, err)
	_, err = io.Copy(to, from)
	require.NoError(b, err)
	require.NoError(b, from.Close())
	require.NoError(b, to.Close())
	st, err := sqlite.Open(path)
	require.NoError(b, err)
	for _, index := range indexes {
		_, err := st.DB().Exec("DROP INDEX " + index)
		require.NoError(b, err)
	}
	return st
}

// pair is two stores that get the same.
type pair struct {
	large
	id.Generator
	generation int64
	of         [2]*sqlite.Store
	rounds     int
}

// round commits the same batches to both and returns the CPU that a delivery took, in microseconds.
func (p *pair) round(b *testing.B, end string, of int) (spent [2]float64) {
	const batches = 16
	m := maker{t: b, now: p.until.Add(time.Duration(p.rounds) * time.Second)}
	p.rounds++
	var all []webhook.Batch
	var last webhook.Batch
	for i := range batches + 1 {
		m.now = m.now.Add(10 * time.Millisecond)
		batch := webhook.Batch{Now: m.now}
		for _, g := range last.Sends {
			batch.Outcomes = append(batch.Outcomes, m.outcome(g.Events[0].Deliveries[0].ID, end))
		}
		for j := range 64 {
			if i == batches {
				break // the last ones are settled, too
			}
			n := (p.rounds*batches+i)*64 + j
			endpoint := 1 + n*7919%of
			g := m.send(p.generation, p.endpoint(endpoint), "owner")
			g.Events[0].Event.TenantID, g.Events[0].Event.Type = tenantOf(endpoint), fmt.Sprintf("type.%d", 1+n%20)
			batch.Sends = append(batch.Sends, g)
		}
		last = batch
		all = append(all, batch)
	}
	for i := range p.of {
		st := p.of[(i+p.rounds)%2]
		before := cpu(b)
		for _, batch := range all {
			r, err := st.Commit(b.Context(), batch)
			require.NoError(b, err)
			for _, o := range r.Outcomes {
				require.True(b, o.Applied)
			}
		}
		spent[(i+p.rounds)%2] = float64((cpu(b) - before).Nanoseconds()) / 1e3 / 64 / batches
	}
	return spent
}

func (m *maker) outcome(deliveryID, end string) webhook.Outcome {
	o := m.success(deliveryID)
	if end == "success" {
		return o
	}
	o.State, o.NextAt, o.Failed = webhook.StateScheduled, m.now.Add(time.Hour), 1
	o.Attempt.Status, o.Attempt.ErrorCode, *o.Attempt.StatusCode = webhook.AttemptFailed, webhook.CodeBadResponse, 500
	if end == "end" {
		o.State, o.NextAt, o.FailureCode = webhook.StateExhausted, time.Time{}, webhook.CodeBadResponse
	}
	return o
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}
