package sqldb

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// spy explains every query that runs through it.
type spy struct {
	conn
	t     *testing.T
	plans map[string]string
}

func (s *spy) query(ctx context.Context, query string, args []any, scan func(row) error) error {
	if strings.HasPrefix(query, "SELECT") && strings.Contains(query, "FROM webhook_") {
		var plan []string
		require.NoError(s.t, s.conn.query(ctx, "EXPLAIN QUERY PLAN "+query, args, func(r row) error {
			plan = append(plan, r.str(3))
			return nil
		}))
		s.plans[query] = strings.Join(plan, "\n")
	}
	return s.conn.query(ctx, query, args, scan)
}

type spied struct {
	source
	spy *spy
}

func (s spied) read(ctx context.Context, do func(conn) error) error {
	return s.source.read(ctx, func(c conn) error {
		s.spy.conn = c
		return do(s.spy)
	})
}

func (s spied) write(ctx context.Context, d durability, do func(conn) error) error {
	return s.source.write(ctx, d, func(c conn) error {
		s.spy.conn = c
		return do(s.spy)
	})
}

// Every query finds its rows by an index and in order: the tables that grow are never scanned through,
// and nothing is sorted.
func TestQueryPlans(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "x.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	st, err := New(db)
	require.NoError(t, err)
	spy := &spy{t: t, plans: map[string]string{}}
	st.src = spied{st.src, spy}
	exercise(t, st)
	require.Greater(t, len(spy.plans), 30)
	for query, plan := range spy.plans {
		for line := range strings.Lines(plan) {
			line = strings.TrimSpace(line)
			for _, bad := range []string{"SCAN d", "SCAN e", "SCAN a", "SCAN webhook_delivery", "SCAN webhook_event", "SCAN webhook_attempt"} {
				// By key from one end, as the lists of all tenants are read, is no search for rows.
				allowed := strings.Contains(query, "ORDER BY d.key DESC") || strings.Contains(query, "ORDER BY a.key DESC") ||
					strings.Contains(query, "ORDER BY key DESC") || strings.Contains(query, "FROM webhook_endpoint e")
				require.False(t, !allowed && (line == bad || strings.HasPrefix(line, bad+" ")), "%s\n%s", query, plan)
			}
			// The few rows of one event or delivery may be sorted, and sums grouped.
			if !strings.Contains(query, "GROUP BY") && !strings.Contains(query, "json_each") {
				require.NotContains(t, line, "TEMP B-TREE", "%s\n%s", query, plan)
			}
		}
	}
	uses := func(index string) {
		for _, plan := range spy.plans {
			if strings.Contains(plan, index) {
				return
			}
		}
		t.Errorf("no query uses %s", index)
	}
	for _, index := range []string{
		"webhook_head_next", "webhook_delivery_pending", "webhook_delivery_expiry", "webhook_delivery_late",
		"webhook_delivery_tenant", "webhook_delivery_endpoint", "webhook_delivery_type", "webhook_delivery_failed",
		"webhook_delivery_last_code", "webhook_delivery_failure_code", "webhook_attempt_lease",
		"webhook_attempt_endpoint", "webhook_attempt_tenant", "webhook_event_tenant", "webhook_event_idempotency",
		"webhook_endpoint_key", "webhook_endpoint_tenant", "webhook_endpoint_generation", "webhook_endpoint_cancel",
	} {
		uses(index)
	}
}

// exercise calls everything once.
func exercise(t *testing.T, st *Store) {
	var ids id.Generator
	ctx, now := t.Context(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var endpoints []string
	for _, ordered := range []bool{false, true} {
		row, err := st.CreateEndpoint(ctx, webhook.EndpointRow{
			ID: ids.New(id.Endpoint, now), State: webhook.EndpointEnabled, URL: "https://example.com", Ordered: ordered,
			CancelPending: webhook.CodeCancelled,
		})
		require.NoError(t, err)
		endpoints = append(endpoints, row.ID)
	}
	ev := webhook.NewEvent{Event: webhook.Event{ID: ids.New(id.Event, now), Type: "a.b", IdempotencyKey: "k", Payload: []byte("{}"), CreatedAt: now}}
	for _, e := range endpoints {
		ev.Deliveries = append(ev.Deliveries, webhook.NewDelivery{ID: ids.New(id.Delivery, now), EndpointID: e, DueAt: now})
	}
	send := webhook.Batch{Now: now, Sends: []webhook.SendGroup{{Generation: 2, Events: []webhook.NewEvent{ev}}}}
	for range 2 {
		_, err := st.Commit(ctx, send)
		require.NoError(t, err)
	}
	request := webhook.ClaimRequest{Now: now, LeaseUntil: now.Add(time.Minute), PerEndpoint: 8, Owner: "o"}
	_, err := st.Claim(ctx, request)
	require.NoError(t, err)
	request.Limit = 10
	claims, err := st.Claim(ctx, request)
	require.NoError(t, err)
	require.Len(t, claims.Claims, 2)
	var outcomes []webhook.Outcome
	for _, c := range claims.Claims {
		outcomes = append(outcomes, webhook.Outcome{DeliveryID: c.DeliveryID, Lease: c.Lease, State: webhook.StateExhausted,
			FailureCode: webhook.CodeTimeout, Attempt: &webhook.DeliveryAttempt{ID: ids.New(id.Attempt, now),
				Status: webhook.AttemptFailed, ErrorCode: webhook.CodeTimeout, Error: "slow", StartedAt: now, CompletedAt: now}})
	}
	for range 2 {
		_, err = st.Commit(ctx, webhook.Batch{Now: now, Outcomes: outcomes})
		require.NoError(t, err)
	}
	look(t, st, now, ev, endpoints[0])
	for _, action := range []webhook.RequeueAction{webhook.RequeueRetry, webhook.RequeueCancel} {
		_, err = st.Requeue(ctx, webhook.RequeueRequest{Now: now, IDs: []string{ev.Deliveries[1].ID}, Action: action})
		require.NoError(t, err)
	}
	_, err = st.Prune(ctx, webhook.PruneRequest{Now: now, DetailBefore: now.Add(time.Hour), FinishedBefore: now.Add(-time.Hour), Limit: 100})
	require.NoError(t, err)
	_, err = st.Erase(ctx, webhook.EraseRequest{Now: now, EventID: ev.Event.ID})
	require.NoError(t, err)
	_, err = st.Erase(ctx, webhook.EraseRequest{Now: now, Limit: 100})
	require.NoError(t, err)
}

// look lists in all ways.
func look(t *testing.T, st *Store, now time.Time, ev webhook.NewEvent, endpoint string) {
	ctx := t.Context()
	for _, q := range []webhook.DeliveryQuery{
		{}, {AllTenants: true}, {EndpointID: endpoint}, {AllTenants: true, EventType: "a.b"}, {EventID: ev.Event.ID},
		{Status: webhook.StatusFailed}, {States: []webhook.DeliveryState{webhook.StateExhausted}},
		{ErrorCode: webhook.CodeTimeout}, {ErrorCode: webhook.CodeTimeout, EventID: ev.Event.ID},
		{After: ev.Deliveries[1].ID, Since: now.Add(-time.Hour), Until: now.Add(time.Hour)},
	} {
		_, err := st.ListDeliveries(ctx, now, q)
		require.NoError(t, err)
	}
	for _, q := range []webhook.AttemptQuery{
		{}, {AllTenants: true}, {EndpointID: endpoint}, {DeliveryID: ev.Deliveries[0].ID}, {EventID: ev.Event.ID},
	} {
		_, err := st.ListAttempts(ctx, q)
		require.NoError(t, err)
	}
	for _, all := range []bool{false, true} {
		_, err := st.ListEvents(ctx, webhook.EventQuery{AllTenants: all})
		require.NoError(t, err)
		_, err = st.ListEndpoints(ctx, webhook.EndpointQuery{AllTenants: all})
		require.NoError(t, err)
		_, err = st.Stats(ctx, now, webhook.StatsQuery{AllTenants: all})
		require.NoError(t, err)
	}
	_, _, err := st.SyncEndpoints(ctx, 0, 10)
	require.NoError(t, err)
	_, err = st.GetDelivery(ctx, now, ev.Deliveries[0].ID)
	require.NoError(t, err)
}
