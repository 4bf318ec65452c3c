package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/pgtest"
)

// meddler does something between two statements of a transaction.
type meddler struct {
	*pooled
	after string // a part of the statement's SQL
	do    func()
}

func (m *meddler) write(ctx context.Context, do func(conn) ([]*statement, error)) error {
	return m.pooled.write(ctx, func(c conn) ([]*statement, error) { return do(&meddled{c, m}) })
}

type meddled struct {
	conn
	*meddler
}

func (m *meddled) run(ctx context.Context, list ...*statement) error {
	err := m.conn.run(ctx, list...)
	if do := m.do; do != nil && strings.Contains(list[0].sql, m.after) {
		m.meddler.do = nil
		do()
	}
	return err
}

// Another process commits a delivery that is due earlier than those which a Claim under way has taken. The
// Claim must not take one of those again because it stands elsewhere now.
func TestAClaimTakesNothingTwice(t *testing.T) {
	now := time.Now().Truncate(time.Microsecond)
	ctx := t.Context()
	st, err := New(ctx, pgtest.Pool(t, pgtest.Database(t), 4))
	require.NoError(t, err)
	var ids id.Generator
	var endpoints []string
	for range 2 {
		row, err := st.CreateEndpoint(ctx, webhook.EndpointRow{
			ID: ids.New(id.Endpoint, now), URL: "https://example.com", State: webhook.EndpointEnabled,
		})
		require.NoError(t, err)
		endpoints = append(endpoints, row.ID)
	}
	other := *st
	send := func(endpoint string, due time.Time) {
		_, err := other.Commit(context.Background(), webhook.Batch{Now: now, Sends: []webhook.SendGroup{{Generation: 2,
			Events: []webhook.NewEvent{{
				Event:      webhook.Event{ID: ids.New(id.Event, now), Type: "a", Payload: []byte("1"), CreatedAt: now},
				Deliveries: []webhook.NewDelivery{{ID: ids.New(id.Delivery, now), EndpointID: endpoint, DueAt: due}},
			}}}}})
		require.NoError(t, err)
	}
	send(endpoints[0], now)
	for range 5 {
		send(endpoints[1], now)
	}
	st.src = &meddler{pooled: st.src.(*pooled), after: "u.endpoint, q.key", do: func() {
		send(endpoints[1], now.Add(-time.Second))
		send(endpoints[1], now.Add(-time.Second))
	}}
	res, err := st.Claim(ctx, webhook.ClaimRequest{
		Now: now, LeaseUntil: now.Add(time.Minute), Limit: 8, PerEndpoint: 8, Owner: "me",
		NewAttemptID: func() string { return ids.New(id.Attempt, now) },
	})
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, c := range res.Claims {
		require.False(t, seen[c.DeliveryID], "taken twice")
		seen[c.DeliveryID] = true
	}
	require.Empty(t, res.Interrupted)
	require.GreaterOrEqual(t, len(seen), 6)
}
