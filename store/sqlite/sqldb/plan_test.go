package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// spy explains every statement that runs through it.
type spy struct {
	conn
	t     *testing.T
	plans map[string][]string
}

func (s *spy) query(ctx context.Context, query string, args []any, scan func(row) error) error {
	s.explain(ctx, query, args)
	return s.conn.query(ctx, query, args, scan)
}

func (s *spy) exec(ctx context.Context, query string, args []any) (driver.Result, error) {
	s.explain(ctx, query, args)
	return s.conn.exec(ctx, query, args)
}

func (s *spy) explain(ctx context.Context, query string, args []any) {
	verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	if s.plans[query] != nil || !strings.Contains("SELECT WITH UPDATE DELETE INSERT", verb) {
		return
	}
	plan := []string{}
	require.NoError(s.t, s.conn.query(ctx, "EXPLAIN QUERY PLAN "+query, args, func(r row) error {
		plan = append(plan, r.str(3))
		return nil
	}), query)
	s.plans[query] = plan
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

// allowed are the steps of plans that look like going through a table, or sort, and are meant to.
var allowed = []struct{ query, step, why string }{
	{"json_each(?)", `^SCAN json_each`, "an argument, not a table"},
	{"", `^SCAN (\d+ )?CONSTANT ROW`, "values of the statement itself"},
	{"", `^SCAN \d+-ROW VALUES CLAUSE$`, "values of the statement itself"},
	{"FROM sqlite_schema", `^SCAN sqlite_schema$`, "some eighty rows"},
	{"FROM webhook_handed", `^SCAN webhook_handed$`, "what is under way for the first time, a few dozen rows"},
	{"FROM webhook_bulk", `^SCAN webhook_bulk$`, "bulk retries are few"},
	{"DELETE FROM webhook_bulk", `^SCAN webhook_bulk$`, "bulk retries are few"},
	{"FROM webhook_endpoint INDEXED BY webhook_endpoint_key", `^SCAN webhook_endpoint USING INDEX`, "in order of the page, from its start"},
	{"LIMIT 10000) WHERE owner", `^SCAN webhook_delivery USING INDEX webhook_delivery_pending$`, "stops at 10,000"},
	{"FROM webhook_endpoint e INDEXED BY webhook_endpoint_held", `^SCAN e USING`, "holds nothing but what is held"},
	{"attributes ->> ", `^USE TEMP B-TREE FOR ORDER BY$`, "the events with one value of an attribute, of all tenants"},
	{"FROM webhook_head h NOT INDEXED", `^USE TEMP B-TREE FOR ORDER BY$`, "up to 64 endpoints"},
	{"count(*) FROM (SELECT", `^SCAN \(subquery`, "bounded inside"},
	{"LIMIT ? + 0)", `^SCAN \(subquery`, "claims of one endpoint, bounded inside"},
	{"SELECT key, next_at, trigger FROM", `^SCAN \(subquery`, "takeEarly: a hundred rows"},
	{"owner = ? AND next_at > ?", `^SCAN webhook_delivery USING INDEX webhook_delivery_(pending|late)$`,
		"after a process died, once, and without the write lock"},
}

// Every statement finds its rows by an index and in order: no table is gone through, nothing is sorted.
func TestQueryPlans(t *testing.T) {
	if underRace {
		t.Skip("thousands of plans; the race detector has nothing to find in them")
	}
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "x.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	st, err := New(db, IndexAttributes("k"))
	require.NoError(t, err)
	indexes := indexesOf(t, db)
	spy := &spy{t: t, plans: map[string][]string{}}
	st.src = spied{st.src, spy}
	exercise(t, st, true)
	require.Greater(t, len(spy.plans), 1000)
	used := map[string]bool{}
	excused := map[int]bool{}
	for query, plan := range spy.plans {
		for _, step := range plan {
			if at := regexp.MustCompile(`INDEX (webhook_\w+)`).FindStringSubmatch(step); at != nil {
				used[at[1]] = true
			}
			if !strings.Contains(step, "SCAN") && !strings.Contains(step, "TEMP B-TREE") {
				continue
			}
			excuse := -1
			for i, a := range allowed {
				if strings.Contains(query, a.query) && regexp.MustCompile(a.step).MatchString(step) {
					excuse = i
				}
			}
			excused[excuse] = true
			if excuse < 0 {
				t.Errorf("%s: in\n%s\n%s\n", step, query, strings.Join(plan, "\n"))
			}
		}
	}
	for i, a := range allowed {
		if !excused[i] {
			t.Errorf("allowed in vain: %s in %q", a.step, a.query)
		}
	}
	for _, index := range indexes {
		if !used[index] {
			t.Errorf("no statement uses %s", index)
		}
	}
}

func indexesOf(t *testing.T, db *sql.DB) (names []string) {
	rows, err := db.Query(`SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	return names
}

// stage is a store in which everything has happened once.
type stage struct {
	*testing.T
	id.Generator
	st        *Store
	now       time.Time
	endpoints []string
	event     webhook.NewEvent
	claims    int
}

// exercise calls everything, lists in every form if asked, and returns how many claims it made.
func exercise(t *testing.T, st *Store, everyList bool) (claims int) {
	s := &stage{T: t, st: st, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s.send()
	s.settle()
	s.replay()
	if everyList {
		s.listDeliveries()
		s.listTheRest()
	}
	s.bulk()
	s.requeue()
	s.clean()
	return s.claims
}

func (s *stage) send() {
	for _, ordered := range []bool{false, true} {
		row, err := s.st.CreateEndpoint(s.Context(), webhook.EndpointRow{
			ID: s.New(id.Endpoint, s.now), State: webhook.EndpointEnabled, URL: "https://example.com", Ordered: ordered,
			CancelPending: webhook.CodeCancelled,
		})
		require.NoError(s, err)
		s.endpoints = append(s.endpoints, row.ID)
	}
	s.event = webhook.NewEvent{Event: webhook.Event{ID: s.New(id.Event, s.now), Type: "a.b", IdempotencyKey: "k",
		Attributes: map[string]string{"k": "v", "l": "w"}, Payload: []byte("{}"), CreatedAt: s.now}}
	for _, e := range s.endpoints {
		s.event.Deliveries = append(s.event.Deliveries, webhook.NewDelivery{ID: s.New(id.Delivery, s.now), EndpointID: e, DueAt: s.now})
	}
	s.commit(webhook.Batch{Sends: []webhook.SendGroup{{Generation: 2, Events: []webhook.NewEvent{s.event}}}})
}

// commit repeats the batch, as after an unknown COMMIT.
func (s *stage) commit(b webhook.Batch) {
	s.Helper()
	b.Now = s.now
	for range 2 {
		_, err := s.st.Commit(s.Context(), b)
		require.NoError(s, err)
	}
}

func (s *stage) claim(limit int, early map[string]int) []webhook.Claim {
	s.Helper()
	r, err := s.st.Claim(s.Context(), webhook.ClaimRequest{Now: s.now, LeaseUntil: s.now.Add(time.Minute), PerEndpoint: 8,
		Owner: "o", Limit: limit, Early: early, NewAttemptID: func() string { return s.New(id.Attempt, s.now) }})
	require.NoError(s, err)
	if limit > 0 {
		s.claims++
	}
	return r.Claims
}

// settle fails once, is claimed early, lost, claimed again and given up.
func (s *stage) settle() {
	s.claim(0, nil)
	claims := s.claim(10, nil)
	require.Len(s, claims, 2)
	s.commit(webhook.Batch{Outcomes: s.failures(claims, webhook.StateScheduled)})
	early := map[string]int{s.endpoints[0]: 1, s.endpoints[1]: 1}
	require.Len(s, s.claim(10, early), 2)
	s.now = s.now.Add(2 * time.Hour)
	claims = s.claim(10, nil)
	require.Len(s, claims, 2)
	_, err := s.st.freeLeasesOf(s.Context(), "o", s.now.UnixMicro())
	require.NoError(s, err)
	claims = s.claim(10, nil)
	s.commit(webhook.Batch{Returned: []webhook.Return{{DeliveryID: claims[0].DeliveryID, Lease: claims[0].Lease}}})
	claims = append(s.claim(10, nil), claims[1:]...)
	s.commit(webhook.Batch{Outcomes: s.failures(claims, webhook.StateExhausted)})
}

func (s *stage) failures(claims []webhook.Claim, state webhook.DeliveryState) (outcomes []webhook.Outcome) {
	for _, c := range claims {
		outcomes = append(outcomes, webhook.Outcome{DeliveryID: c.DeliveryID, Lease: c.Lease, State: state,
			NextAt: s.now.Add(time.Hour), FailureCode: webhook.CodeTimeout, Attempt: &webhook.DeliveryAttempt{
				ID: s.New(id.Attempt, s.now), Status: webhook.AttemptFailed, ErrorCode: webhook.CodeTimeout, Error: "slow",
				StartedAt: s.now, CompletedAt: s.now}})
	}
	return outcomes
}

func (s *stage) replay() {
	again := webhook.NewEvent{Replay: true, Event: webhook.Event{ID: s.event.Event.ID}, Deliveries: []webhook.NewDelivery{
		{ID: s.New(id.Delivery, s.now), EndpointID: s.endpoints[0], DueAt: s.now}}}
	s.commit(webhook.Batch{Sends: []webhook.SendGroup{{Generation: 2, Events: []webhook.NewEvent{again}}}})
}

// of gives a value or leaves the zero one.
func of[T any](give bool, v T) (zero T) {
	if give {
		return v
	}
	return zero
}

var either = []bool{false, true}

// listDeliveries combines all filters.
func (s *stage) listDeliveries() {
	var queries []webhook.DeliveryQuery
	for _, all := range either {
		for _, endpoint := range either {
			for _, event := range either {
				for _, typ := range either {
					for _, code := range either {
						queries = append(queries, webhook.DeliveryQuery{AllTenants: all, EndpointID: of(endpoint, s.endpoints[0]),
							EventID: of(event, s.event.Event.ID), EventType: of(typ, "a.b"), ErrorCode: of(code, webhook.CodeTimeout)})
					}
				}
			}
		}
	}
	s.vary(queries, func(q webhook.DeliveryQuery) (more []webhook.DeliveryQuery) {
		for _, status := range []webhook.DeliveryStatus{"", webhook.StatusPending, webhook.StatusSuccess, webhook.StatusFailed} {
			for _, states := range [][]webhook.DeliveryState{
				nil, {webhook.StateExhausted, webhook.StateGone}, {webhook.StateSending, webhook.StateQueued}, {webhook.StateHeld, webhook.StateScheduled},
			} {
				q.Status, q.States = status, states
				more = append(more, q)
			}
		}
		return more
	}, func(q webhook.DeliveryQuery) (more []webhook.DeliveryQuery) {
		for _, class := range []int{0, 5} {
			for _, finished := range either {
				for _, attributes := range []map[string]string{nil, {"k": "v"}, {"l": "w"}} {
					q.ResponseClass, q.FinishedSince, q.Attributes = class, of(finished, s.now), attributes
					more = append(more, q)
				}
			}
		}
		return more
	}, func(q webhook.DeliveryQuery) (more []webhook.DeliveryQuery) {
		for _, since := range either {
			for _, until := range either {
				q.Since, q.Until, q.After = of(since, s.now.Add(-time.Hour)), of(until, s.now.Add(time.Hour)), of(since, s.New(id.Delivery, s.now))
				more = append(more, q)
			}
		}
		return more
	})
}

// vary applies each variation to what the ones before made, and lists.
func (s *stage) vary(queries []webhook.DeliveryQuery, variations ...func(webhook.DeliveryQuery) []webhook.DeliveryQuery) {
	for _, q := range queries {
		if len(variations) > 0 {
			s.vary(variations[0](q), variations[1:]...)
			continue
		}
		_, err := s.st.ListDeliveries(s.Context(), s.now, q)
		require.NoError(s, err)
	}
}

func (s *stage) listTheRest() {
	ctx := s.Context()
	for bits := range 1 << 8 {
		on := func(i int) bool { return bits>>i&1 == 1 }
		all, since, until := on(0), of(on(1), s.now.Add(-time.Hour)), of(on(2), s.now.Add(time.Hour))
		for _, status := range []webhook.AttemptStatus{"", webhook.AttemptSucceeded, webhook.AttemptFailed} {
			_, err := s.st.ListAttempts(ctx, webhook.AttemptQuery{AllTenants: all, Since: since, Until: until, Status: status,
				EndpointID: of(on(3), s.endpoints[0]), EventID: of(on(4), s.event.Event.ID),
				DeliveryID: of(on(5), s.event.Deliveries[0].ID), ErrorCode: of(on(6), webhook.CodeTimeout),
				After: of(on(7), s.New(id.Attempt, s.now))})
			require.NoError(s, err)
		}
		_, err := s.st.ListEvents(ctx, webhook.EventQuery{AllTenants: all, Since: since, Until: until, Type: of(on(3), "a.b"),
			After: of(on(7), s.New(id.Event, s.now))})
		require.NoError(s, err)
		_, err = s.st.ListEndpoints(ctx, webhook.EndpointQuery{AllTenants: all, After: of(on(1), s.New(id.Endpoint, s.now)),
			States: of(on(2), []webhook.EndpointState{webhook.EndpointEnabled})})
		require.NoError(s, err)
		_, err = s.st.Stats(ctx, s.now, webhook.StatsQuery{AllTenants: all, EndpointID: of(on(3), s.endpoints[0]), Since: since, Until: until})
		require.NoError(s, err)
	}
	_, _, err := s.st.SyncEndpoints(ctx, 0, 10)
	require.NoError(s, err)
	_, err = s.st.GetDelivery(ctx, s.now, s.event.Deliveries[0].ID)
	require.NoError(s, err)
	_, err = s.st.GetEvent(ctx, s.event.Event.ID)
	require.NoError(s, err)
	_, err = s.st.GetEndpoint(ctx, s.endpoints[0])
	require.NoError(s, err)
	_, err = s.st.Check(ctx)
	require.NoError(s, err)
}

func (s *stage) bulk() {
	row := webhook.BulkRetryRow{ID: s.New(id.BulkRetry, s.now), State: webhook.BulkRetryRunning, CreatedAt: s.now, UpdatedAt: s.now}
	require.NoError(s, s.st.CreateBulkRetry(s.Context(), row))
	_, err := s.st.UpdateBulkRetry(s.Context(), row.ID, func(*webhook.BulkRetryRow) error { return nil })
	require.NoError(s, err)
	for _, all := range either {
		_, err = s.st.ListBulkRetries(s.Context(), webhook.BulkRetryQuery{AllTenants: all, After: of(all, row.ID),
			States: of(all, []webhook.BulkRetryState{webhook.BulkRetryRunning})})
		require.NoError(s, err)
	}
}

func (s *stage) requeue() {
	for _, action := range []webhook.RequeueAction{webhook.RequeueRetry, webhook.RequeueCancel} {
		_, err := s.st.Requeue(s.Context(), webhook.RequeueRequest{Now: s.now, IDs: []string{s.event.Deliveries[1].ID}, Action: action})
		require.NoError(s, err)
	}
	for _, e := range s.endpoints {
		_, err := s.st.UpdateEndpoint(s.Context(), e, func(row *webhook.EndpointRow) error {
			row.State = webhook.EndpointPaused
			return nil
		})
		require.NoError(s, err)
	}
}

func (s *stage) clean() {
	ctx := s.Context()
	_, err := s.st.Prune(ctx, webhook.PruneRequest{Now: s.now, DetailBefore: s.now.Add(time.Hour), FinishedBefore: s.now.Add(-time.Minute), Limit: 100})
	require.NoError(s, err)
	_, err = s.st.Erase(ctx, webhook.EraseRequest{Now: s.now, EventID: s.event.Event.ID})
	require.NoError(s, err)
	_, err = s.st.Erase(ctx, webhook.EraseRequest{Now: s.now, Limit: 100})
	require.NoError(s, err)
}
