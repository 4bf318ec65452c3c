package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/storetest"
)

// What is handed over has no row until its result comes, which is written without reading anything. What
// became of the delivery meanwhile, by another process, must count all the same.
func TestHandedOverMeanwhileChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(*maker, []string)
		applied   []bool
		succeeded int
	}{
		"nothing": {func(*maker, []string) {}, []bool{true, true, true}, 3},
		"one was canceled": {func(m *maker, ids []string) {
			_, err := m.st.Requeue(m.t.Context(), webhook.RequeueRequest{Now: m.now, IDs: ids[:1], Action: webhook.RequeueCancel})
			require.NoError(m.t, err)
		}, []bool{true, true, true}, 3}, // a success wins
		"one was returned": {func(m *maker, ids []string) {
			_, err := m.st.Commit(m.t.Context(), webhook.Batch{Now: m.now, Returned: []webhook.Return{{DeliveryID: ids[1], Lease: 1}}})
			require.NoError(m.t, err)
		}, []bool{true, true, true}, 3},
		"all were claimed": {func(m *maker, ids []string) {
			later := m.now.Add(time.Minute)
			r, err := m.st.Claim(m.t.Context(), webhook.ClaimRequest{Now: later, LeaseUntil: later.Add(time.Minute), Limit: 10,
				Owner: "other", NewAttemptID: func() string { return m.New(id.Attempt, later) }})
			require.NoError(m.t, err)
			require.Len(m.t, r.Claims, 3)
			require.Len(m.t, r.Interrupted, 3)
		}, []bool{true, true, true}, 3},
		"their tenant was erased": {func(m *maker, ids []string) {
			for {
				r, err := m.st.Erase(m.t.Context(), webhook.EraseRequest{Now: m.now, Limit: 10})
				require.NoError(m.t, err)
				if !r.More {
					return
				}
			}
		}, []bool{false, false, false}, 0},
		"their event was erased": {func(m *maker, ids []string) {
			d, err := m.st.GetDelivery(m.t.Context(), m.now, ids[2])
			require.NoError(m.t, err)
			_, err = m.st.Erase(m.t.Context(), webhook.EraseRequest{Now: m.now, EventID: d.EventID})
			require.NoError(m.t, err)
		}, []bool{true, true, true}, 3},
		"two have ended and were pruned": {func(m *maker, ids []string) {
			_, err := m.st.Commit(m.t.Context(), webhook.Batch{Now: m.now, Outcomes: []webhook.Outcome{m.success(ids[0]), m.success(ids[2])}})
			require.NoError(m.t, err)
			later := m.now.Add(time.Second)
			r, err := m.st.Prune(m.t.Context(), webhook.PruneRequest{Now: later, FinishedBefore: later, Limit: 100})
			require.NoError(m.t, err)
			require.Equal(m.t, 2, r.Deliveries)
		}, []bool{false, true, false}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "webhooks.db")
			st, other := open(t, path), open(t, path)
			m := &maker{t: t, st: st, now: start}
			to := m.endpoint()
			generation := m.generation()
			batch, results, ids := webhook.Batch{Now: m.now}, webhook.Batch{Now: m.now}, []string{}
			for range 3 {
				g := m.send(generation, to, "owner")
				batch.Sends = append(batch.Sends, g)
				ids = append(ids, g.Events[0].Deliveries[0].ID)
				results.Outcomes = append(results.Outcomes, m.success(ids[len(ids)-1]))
			}
			_, err := st.Commit(t.Context(), batch)
			require.NoError(t, err)
			c.change(&maker{t: t, st: other, now: m.now}, ids)
			for range 2 { // a repetition changes nothing
				r, err := st.Commit(t.Context(), results)
				require.NoError(t, err)
				for i := range c.applied {
					require.Equal(t, c.applied[i], r.Outcomes[i].Applied, i)
				}
			}
			list, err := st.ListDeliveries(t.Context(), m.now, webhook.DeliveryQuery{AllTenants: true})
			require.NoError(t, err)
			require.Len(t, list, c.succeeded)
			for _, d := range list {
				require.Equal(t, webhook.StateSucceeded, d.State)
			}
			left := 0
			require.NoError(t, st.DB().QueryRow(`SELECT count(*) FROM webhook_handed`).Scan(&left))
			require.Zero(t, left)
			storetest.CheckInvariants(t, st)
		})
	}
}

// A few that take long do not keep the lists of all the others: at some point they get rows.
func TestHandedOverAndSlow(t *testing.T) {
	st := open(t, filepath.Join(t.TempDir(), "webhooks.db"))
	m := &maker{t: t, st: st, now: start}
	to, generation := m.endpoint(), m.generation()
	var slow []webhook.Outcome
	const commits, lists = 80, 65
	for range commits {
		m.now = m.now.Add(time.Millisecond)
		batch, results := webhook.Batch{Now: m.now}, webhook.Batch{Now: m.now}
		for i := range 64 {
			g := m.send(generation, to, "owner")
			batch.Sends = append(batch.Sends, g)
			if o := m.success(g.Events[0].Deliveries[0].ID); i == 0 {
				slow = append(slow, o)
			} else {
				results.Outcomes = append(results.Outcomes, o)
			}
		}
		for _, b := range []webhook.Batch{batch, results} {
			_, err := st.Commit(t.Context(), b)
			require.NoError(t, err)
		}
	}
	left, rows := 0, 0
	require.NoError(t, st.DB().QueryRow(`SELECT count(*) FROM webhook_handed`).Scan(&left))
	require.NoError(t, st.DB().QueryRow(`SELECT count(*) FROM webhook_delivery WHERE state = 0`).Scan(&rows))
	require.LessOrEqual(t, left, lists)
	require.Equal(t, commits, left+rows)
	pending, err := st.ListDeliveries(t.Context(), m.now, webhook.DeliveryQuery{AllTenants: true, Status: webhook.StatusPending, Limit: 500})
	require.NoError(t, err)
	require.Len(t, pending, commits)
	r, err := st.Commit(t.Context(), webhook.Batch{Now: m.now, Outcomes: slow})
	require.NoError(t, err)
	for _, o := range r.Outcomes {
		require.True(t, o.Applied)
	}
	require.NoError(t, st.DB().QueryRow(`SELECT count(*) FROM webhook_handed`).Scan(&left))
	require.Zero(t, left)
	storetest.CheckInvariants(t, st)
}
