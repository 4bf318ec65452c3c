package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/pgtest"
)

// The update that ends a delivery writes no index: vacuum has nothing to do there, however large they are. No
// statement goes through all rows because its plan was made for an empty table.
func TestASuccessIsAHOTUpdate(t *testing.T) {
	// The plans are those for empty tables, as they may be for some time in a new database.
	pool := pgtest.Pool(t, pgtest.Database(t)+" plan_cache_mode=force_generic_plan", 1)
	st := open(t, pool)
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint := m.endpoint()
	generation := m.generation()
	for range 20 {
		sends, results := webhook.Batch{Now: m.now}, webhook.Batch{Now: m.now}
		for range 50 {
			g := m.send(generation, endpoint, "me")
			sends.Sends = append(sends.Sends, g)
			results.Outcomes = append(results.Outcomes, m.success(g.Events[0].Deliveries[0].ID))
		}
		for _, b := range []webhook.Batch{sends, results} {
			_, err := st.Commit(t.Context(), b)
			require.NoError(t, err)
		}
	}
	var updates, hot, read int
	require.Eventually(t, func() bool { // the server tells after a while
		_, err := st.Stats(t.Context(), m.now, webhook.StatsQuery{})
		require.NoError(t, err)
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT n_tup_upd, n_tup_hot_upd, idx_tup_fetch FROM pg_stat_user_tables
			WHERE schemaname = 'webhook' AND relname = 'delivery'`).Scan(&updates, &hot, &read))
		return updates == 1000
	}, 10*time.Second, 100*time.Millisecond)
	require.GreaterOrEqual(t, hot, 950, "of 1,000")
	require.LessOrEqual(t, read, 2000, "no statement goes through all")
}

// What is handed over is in no queue while it goes well: its note goes with the last of its results. A result
// that is no success puts it there.
func TestHandedOver(t *testing.T) {
	pool := pgtest.Pool(t, pgtest.Database(t), 2)
	st := open(t, pool)
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint := m.endpoint()
	rows := func(table string) (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM webhook.`+table).Scan(&n))
		return n
	}
	commit := func(b webhook.Batch) {
		b.Now = m.now
		_, err := st.Commit(t.Context(), b)
		require.NoError(t, err)
	}
	pending := func() int64 {
		s, err := st.Stats(t.Context(), m.now, webhook.StatsQuery{})
		require.NoError(t, err)
		return s.Pending
	}
	send := func() (ids []string) {
		var b webhook.Batch
		for range 3 {
			g := m.send(m.generation(), endpoint, "me")
			b.Sends, ids = append(b.Sends, g), append(ids, g.Events[0].Deliveries[0].ID)
		}
		commit(b)
		require.EqualValues(t, 3, pending())
		require.Equal(t, 1, rows("note"))
		require.Zero(t, rows("queue"))
		return ids
	}
	for i, deliveryID := range send() {
		require.Equal(t, 1, rows("note"), "%d results", i)
		commit(webhook.Batch{Outcomes: []webhook.Outcome{m.success(deliveryID)}})
	}
	require.Zero(t, rows("note"))
	require.Zero(t, pending())

	ids := send()
	failed := m.success(ids[0])
	failed.State, failed.NextAt, failed.Failed = webhook.StateScheduled, m.now.Add(time.Hour), 1
	failed.Attempt.Status = webhook.AttemptFailed
	commit(webhook.Batch{Outcomes: []webhook.Outcome{failed, m.success(ids[1])}, Returned: []webhook.Return{{DeliveryID: ids[2], Lease: 1}}})
	require.Equal(t, 2, rows("queue"))
	require.EqualValues(t, 2, pending())

	// An endpoint that becomes ordered waits for what is under way.
	commit(webhook.Batch{Sends: []webhook.SendGroup{m.send(m.generation(), endpoint, "me")}})
	require.Equal(t, 2, rows("queue"))
	_, err := st.UpdateEndpoint(t.Context(), endpoint, func(e *webhook.EndpointRow) error {
		e.Ordered = true
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, rows("queue"))
	require.EqualValues(t, 3, pending())
}

// Commits that are under way together each leave something of a note. It goes with the next one. And they do
// not wait for each other to count.
func TestCommitsAtTheSameTime(t *testing.T) {
	pool := pgtest.Pool(t, pgtest.Database(t), 4)
	st := open(t, pool)
	require.Equal(t, 2, st.Commits())
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint := m.endpoint()
	generation := m.generation()
	notes := func() (n int) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM webhook.note`).Scan(&n))
		return n
	}
	sends := webhook.Batch{Now: m.now}
	for range 2 {
		sends.Sends = append(sends.Sends, m.send(generation, endpoint, "me"))
	}
	_, err := st.Commit(t.Context(), sends)
	require.NoError(t, err)

	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE webhook.stat`)
	require.NoError(t, err)
	committed := make(chan error, 2)
	for _, g := range sends.Sends {
		b := webhook.Batch{Now: m.now, Outcomes: []webhook.Outcome{m.success(g.Events[0].Deliveries[0].ID)}}
		go func() {
			_, err := st.Commit(t.Context(), b)
			committed <- err
		}()
	}
	require.Eventually(t, func() bool {
		var waiting int
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&waiting))
		return waiting == 2
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-committed)
	require.NoError(t, <-committed)
	require.Equal(t, 1, notes())
	var counters int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(DISTINCT shard) FROM webhook.stat`).Scan(&counters))
	require.Equal(t, 2, counters)

	_, err = st.Commit(t.Context(), webhook.Batch{Now: m.now, Sends: []webhook.SendGroup{m.send(generation, endpoint, "me")}})
	require.NoError(t, err)
	require.Equal(t, 1, notes(), "its own")
	s, err := st.Stats(t.Context(), m.now, webhook.StatsQuery{})
	require.NoError(t, err)
	require.EqualValues(t, 2, s.Succeeded)
	require.EqualValues(t, 1, s.Pending)
	require.Equal(t, 1, open(t, pgtest.Pool(t, pgtest.Database(t), 2)).Commits(), "a connection is left to others")
}

// What Commit and Claim run all the time is planned a few times, and then no more: to plan takes longer than
// to run it.
func TestPlansAreKept(t *testing.T) {
	pool := pgtest.Pool(t, pgtest.Database(t), 1)
	st := open(t, pool)
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint, generation := m.endpoint(), m.generation()
	commit := func(b webhook.Batch) {
		b.Now = m.now
		_, err := st.Commit(t.Context(), b)
		require.NoError(t, err)
	}
	for range 20 {
		handed, queued := m.send(generation, endpoint, "me"), m.send(generation, endpoint, "")
		commit(webhook.Batch{Sends: []webhook.SendGroup{handed, queued}})
		commit(webhook.Batch{Outcomes: []webhook.Outcome{m.success(handed.Events[0].Deliveries[0].ID)}})
		r, err := st.Claim(t.Context(), webhook.ClaimRequest{
			Now: m.now, LeaseUntil: m.now.Add(time.Minute), Limit: 10, Owner: "me",
			NewAttemptID: func() string { return m.New(id.Attempt, m.now) },
		})
		require.NoError(t, err)
		require.Len(t, r.Claims, 1)
		failed := m.success(r.Claims[0].DeliveryID)
		failed.State, failed.NextAt, failed.Failed = webhook.StateScheduled, m.now.Add(time.Hour), 1
		failed.Attempt.Status, failed.Attempt.ErrorCode = webhook.AttemptFailed, webhook.CodeTimeout
		commit(webhook.Batch{Outcomes: []webhook.Outcome{failed}})
		m.now = m.now.Add(time.Minute)
	}
	rows, err := pool.Query(t.Context(), `SELECT statement, custom_plans, generic_plans FROM pg_prepared_statements`)
	require.NoError(t, err)
	kept := 0
	for rows.Next() {
		var sql string
		var custom, generic int
		require.NoError(t, rows.Scan(&sql, &custom, &generic))
		assert.LessOrEqual(t, custom, 6, "planned anew each time, kept %d times: %s", generic, sql)
		if generic > 0 {
			kept++
		}
	}
	require.NoError(t, rows.Err())
	require.Greater(t, kept, 10)
}

// trips counts round trips, pings and preparations aside.
type trips struct{ n int }

func (t *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	t.n++
	return ctx
}
func (t *trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (t *trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

func (t *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.n++
	return ctx
}
func (t *trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// While all goes well a Commit is one round trip, of Sends, of results and of both. It notices that endpoints
// have changed since the Sends were matched.
func TestAPlainCommitIsOneRoundTrip(t *testing.T) {
	config, err := pgxpool.ParseConfig(pgtest.Database(t))
	require.NoError(t, err)
	counted := &trips{}
	config.ConnConfig.Tracer, config.MaxConns = counted, 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	st := open(t, pool)
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint, generation := m.endpoint(), m.generation()
	commit := func(b webhook.Batch) webhook.Result {
		b.Now = m.now
		r, err := st.Commit(t.Context(), b)
		require.NoError(t, err)
		require.Equal(t, generation, r.Generation)
		return r
	}
	success := func(g webhook.SendGroup) webhook.Outcome { return m.success(g.Events[0].Deliveries[0].ID) }
	last := m.send(generation, endpoint, "me")
	commit(webhook.Batch{Sends: []webhook.SendGroup{last}}) // reads the endpoint
	for range 3 {
		m.now = m.now.Add(time.Minute)
		g := m.send(generation, endpoint, "me")
		counted.n = 0
		r := commit(webhook.Batch{Sends: []webhook.SendGroup{g}, Outcomes: []webhook.Outcome{success(last)}})
		require.Equal(t, 1, counted.n, "both")
		require.True(t, r.Outcomes[0].Applied)
		require.Equal(t, webhook.EndpointHealth{LastSuccessAt: m.now.Truncate(time.Minute).UTC()}, r.Outcomes[0].Health)

		more := m.send(generation, endpoint, "me")
		counted.n = 0
		commit(webhook.Batch{Sends: []webhook.SendGroup{more}})
		require.Equal(t, 1, counted.n, "Sends")

		counted.n = 0
		commit(webhook.Batch{Outcomes: []webhook.Outcome{success(g), success(more)}})
		require.Equal(t, 1, counted.n, "results")
		last = m.send(generation, endpoint, "me")
		commit(webhook.Batch{Sends: []webhook.SendGroup{last}})
	}

	failed := success(last)
	failed.State, failed.NextAt, failed.Failed, failed.Attempt.Status = webhook.StateScheduled, m.now.Add(time.Hour), 1, webhook.AttemptFailed
	r := commit(webhook.Batch{Outcomes: []webhook.Outcome{failed}})
	require.EqualValues(t, 1, r.Outcomes[0].Health.Failures)
	last = m.send(generation, endpoint, "me")
	commit(webhook.Batch{Sends: []webhook.SendGroup{last}})
	r = commit(webhook.Batch{Outcomes: []webhook.Outcome{success(last)}})
	require.Zero(t, r.Outcomes[0].Health.Failures)
	require.Zero(t, r.Outcomes[0].Health.FailingSince)
	require.False(t, r.Outcomes[0].Health.LastFailureAt.IsZero())

	stale := m.send(generation, endpoint, "me")
	m.endpoint()
	was := generation
	generation = m.generation()
	require.Greater(t, generation, was)
	r = commit(webhook.Batch{Sends: []webhook.SendGroup{stale}})
	require.Equal(t, webhook.SendStale, r.Sends[0].Status)
}
