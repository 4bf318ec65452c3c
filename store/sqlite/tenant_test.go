package sqlite_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
)

// Attempts of a tenant with many endpoints are found among everybody's, or through its events where it has
// few: past others' attempts and deliveries that have none.
func TestAttemptsOfATenantWithManyEndpoints(t *testing.T) {
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "webhooks.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	m := &maker{t: t, st: st, now: start}
	endpoints := map[string][]string{}
	for _, tenant := range slices.Concat(slices.Repeat([]string{"many"}, 70), []string{"other"}) {
		row, err := st.CreateEndpoint(t.Context(), webhook.EndpointRow{ID: m.New(id.Endpoint, m.now), TenantID: tenant,
			State: webhook.EndpointEnabled, URL: "https://example.com/hook", CreatedAt: m.now, UpdatedAt: m.now})
		require.NoError(t, err)
		endpoints[tenant] = append(endpoints[tenant], row.ID)
	}
	generation := m.generation()
	var want []string // attempts of the tenant, newest first
	for _, part := range []struct {
		tenant    string
		n         int
		attempted bool
	}{{"many", 30, true}, {"other", 1000, true}, {"many", 20, false}, {"many", 10, true}, {"other", 400, true}, {"many", 40, false}} {
		sends, results := webhook.Batch{Now: m.now}, webhook.Batch{Now: m.now}
		for n := range part.n {
			m.now = m.now.Add(time.Millisecond)
			owner := ""
			if part.attempted {
				owner = "me"
			}
			g := m.send(generation, endpoints[part.tenant][n%len(endpoints[part.tenant])], owner)
			g.Events[0].Event.TenantID = part.tenant
			sends.Sends = append(sends.Sends, g)
			if part.attempted {
				o := m.success(g.Events[0].Deliveries[0].ID)
				results.Outcomes = append(results.Outcomes, o)
				if part.tenant == "many" {
					want = append(want, o.Attempt.ID)
				}
			}
		}
		for _, b := range []webhook.Batch{sends, results} {
			_, err := st.Commit(t.Context(), b)
			require.NoError(t, err)
		}
	}
	slices.Reverse(want)
	for _, limit := range []int{7, 50, 500} {
		var got []string
		q := webhook.AttemptQuery{TenantID: "many", Limit: limit}
		for {
			page, err := st.ListAttempts(t.Context(), q)
			require.NoError(t, err)
			for _, a := range page {
				got = append(got, a.ID)
			}
			if len(page) < limit {
				break
			}
			q.After = got[len(got)-1]
		}
		require.Equal(t, want, got, "%d at a time", limit)
	}
}
