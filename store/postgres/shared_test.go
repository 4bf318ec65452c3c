package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
)

// receiver notes what arrives, and answers as it is told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []arrival
	status int
	delay  time.Duration
	news   chan struct{} // holds one
}

type arrival struct {
	eventID  string
	at, done time.Time
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: 200, news: make(chan struct{}, 1)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	began := time.Now()
	r.mu.Lock()
	status, delay := r.status, r.delay
	r.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-q.Context().Done():
		}
	}
	r.mu.Lock()
	r.got = append(r.got, arrival{q.Header.Get("webhook-id"), began, time.Now()})
	r.mu.Unlock()
	w.WriteHeader(status)
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *receiver) arrivals() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]arrival(nil), r.got...)
}

// await waits until n requests have arrived.
func (r *receiver) await(t *testing.T, n int, within time.Duration) []arrival {
	t.Helper()
	late := time.After(within)
	for {
		if got := r.arrivals(); len(got) >= n {
			return got
		}
		select {
		case <-r.news:
		case <-late:
			require.FailNow(t, "requests are missing", "%d of %d after %v", len(r.arrivals()), n, within)
		}
	}
}

// process is a dispatcher with a store and a pool of two of its own, as a process of its own would have.
type process struct {
	*webhook.Dispatcher
	st   *postgres.Store
	stop func()
}

func newProcess(t *testing.T, dsn string, cfg webhook.Config, options ...postgres.Option) *process {
	st := open(t, pgtest.Pool(t, dsn, 2), options...)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d, err := webhook.New(st, cfg)
	require.NoError(t, err)
	return &process{Dispatcher: d, st: st, stop: func() {}}
}

// run runs it until the test ends or stop is called.
func (p *process) run(t *testing.T) *process {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(p.stop)
	return p
}

func (p *process) endpoint(t *testing.T, e webhook.Endpoint) webhook.Endpoint {
	e.AllowPrivate = webhook.Loopback
	e, err := p.CreateEndpoint(t.Context(), e)
	require.NoError(t, err)
	return e
}

func (p *process) send(t *testing.T, payload string) string {
	r, err := p.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte(payload)})
	require.NoError(t, err)
	return r.EventID
}

// The polls are far apart, so what arrives in time was announced.
var byNewsOnly = webhook.Config{PollInterval: 30 * time.Second}

func TestASendWakesOtherProcesses(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	sender := newProcess(t, dsn, webhook.Config{})
	sender.endpoint(t, webhook.Endpoint{URL: r.URL})
	newProcess(t, dsn, byNewsOnly).run(t)
	id := sender.send(t, "1") // it may come before the other listens, which then looks by itself
	require.Equal(t, id, r.await(t, 1, 10*time.Second)[0].eventID)
	id = sender.send(t, "2")
	require.Equal(t, id, r.await(t, 2, 10*time.Second)[1].eventID)
}

func TestACommittedSendTxWakesOtherProcesses(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	sender := newProcess(t, dsn, webhook.Config{})
	sender.endpoint(t, webhook.Endpoint{URL: r.URL})
	newProcess(t, dsn, byNewsOnly).run(t)
	sender.send(t, "first")
	r.await(t, 1, 10*time.Second)

	tx, err := pgtest.Pool(t, dsn, 1).Begin(t.Context())
	require.NoError(t, err)
	receipt, err := sender.SendTx(t.Context(), sender.st.WithTx(tx), webhook.Event{Type: "order.created", Payload: []byte("2")})
	require.NoError(t, err)
	between := sender.send(t, "3")
	require.Equal(t, between, r.await(t, 2, 10*time.Second)[1].eventID, "an open transaction holds up nobody")
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, receipt.EventID, r.await(t, 3, 10*time.Second)[2].eventID)
}

func TestWithoutListenPollingFindsTheWork(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	sender := newProcess(t, dsn, webhook.Config{}, postgres.WithoutListen())
	sender.endpoint(t, webhook.Endpoint{URL: r.URL})
	newProcess(t, dsn, webhook.Config{PollInterval: 50 * time.Millisecond}, postgres.WithoutListen()).run(t)
	for n := range 3 {
		sender.send(t, fmt.Sprint(n))
		r.await(t, n+1, 10*time.Second)
	}
}

// What one process knows of endpoints is out of date the moment that another makes one.
func TestAnEndpointMadeElsewhereMissesNoEvent(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	a, b := newProcess(t, dsn, webhook.Config{}).run(t), newProcess(t, dsn, webhook.Config{}).run(t)
	for n := range 10 {
		a.endpoint(t, webhook.Endpoint{URL: r.URL, EventTypes: []string{fmt.Sprintf("type.%d", n)}})
		receipt, err := b.Send(t.Context(), webhook.Event{Type: fmt.Sprintf("type.%d", n), Payload: []byte("{}")})
		require.NoError(t, err)
		require.Len(t, receipt.DeliveryIDs, 1)
		a, b = b, a
	}
	r.await(t, 10, 10*time.Second)
}

func TestAPauseHoldsInAllProcesses(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	r.delay = 10 * time.Millisecond
	a, b := newProcess(t, dsn, webhook.Config{}).run(t), newProcess(t, dsn, webhook.Config{}).run(t)
	e := a.endpoint(t, webhook.Endpoint{URL: r.URL, MaxInFlight: 1})
	events := make([]webhook.Event, 200) // at once: one by one, they might be delivered as fast as they are sent
	for n := range events {
		events[n] = webhook.Event{Type: "a.b", Payload: fmt.Append(nil, n)}
	}
	_, err := b.SendBatch(t.Context(), events)
	require.NoError(t, err)
	r.await(t, 20, 10*time.Second)
	require.NoError(t, a.PauseEndpoint(t.Context(), e.ID))
	paused := time.Now()
	<-time.After(2 * time.Second)
	late := 0
	for _, x := range r.arrivals() {
		if x.at.After(paused.Add(time.Second)) {
			late++
		}
	}
	require.Zero(t, late, "requests more than a second after the pause")
	require.Less(t, len(r.arrivals()), 200, "the pause came too late to show anything")
	require.NoError(t, b.UnpauseEndpoint(t.Context(), e.ID))
	r.await(t, 200, 20*time.Second)
}

func TestProcessesShareARateLimit(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	const limit = 20
	a := newProcess(t, dsn, webhook.Config{})
	a.endpoint(t, webhook.Endpoint{URL: r.URL, RateLimit: limit})
	for n := range 300 {
		a.send(t, fmt.Sprint(n))
	}
	a.run(t)
	newProcess(t, dsn, webhook.Config{}).run(t)
	newProcess(t, dsn, webhook.Config{}).run(t)
	r.await(t, 1, 10*time.Second)
	<-time.After(2 * time.Second) // they have found each other
	from := time.Now()
	<-time.After(4 * time.Second)
	n, took := 0, time.Since(from) // more than it waited for, on a busy machine
	for _, x := range r.arrivals() {
		if x.at.After(from) && x.at.Before(from.Add(took)) {
			n++
		}
	}
	require.LessOrEqual(t, n, int(took.Seconds()*limit)+6, "in %v", took)
	require.GreaterOrEqual(t, n, 2*limit, "in %v", took)
}

func TestAnOrderedEndpointStaysInOrderAcrossProcesses(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	r.delay = 2 * time.Millisecond
	var all []*process
	for range 3 {
		all = append(all, newProcess(t, dsn, webhook.Config{}))
	}
	all[0].endpoint(t, webhook.Endpoint{URL: r.URL, Ordered: true})
	deliveries := map[string]string{}
	for n := range 60 {
		receipt, err := all[n%3].Send(t.Context(), webhook.Event{Type: "a", Payload: fmt.Appendf(nil, "%d", n)})
		require.NoError(t, err)
		deliveries[receipt.EventID] = receipt.DeliveryIDs[0]
	}
	for _, p := range all {
		p.run(t)
	}
	got := r.await(t, 60, 30*time.Second)
	var order []string
	for i, x := range got {
		order = append(order, deliveries[x.eventID])
		if i > 0 {
			require.False(t, x.at.Before(got[i-1].done.Add(-time.Millisecond)), "two at once")
		}
	}
	require.Len(t, order, len(deliveries))
	require.True(t, slices.IsSorted(order), "%q", order)
}

// While another process enters the notes of the first, what comes after them is not taken before them.
func TestAClaimKnowsOfNotesThatAnotherEnters(t *testing.T) {
	pool := pgtest.Pool(t, pgtest.Database(t), 4)
	st := open(t, pool)
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint := m.endpoint()
	_, err := st.UpdateEndpoint(t.Context(), endpoint, func(e *webhook.EndpointRow) error {
		e.Ordered = true
		return nil
	})
	require.NoError(t, err)
	var first string
	for i := range 3 {
		g := m.send(m.generation(), endpoint, "")
		_, err := st.Commit(t.Context(), webhook.Batch{Now: m.now, Sends: []webhook.SendGroup{g}})
		require.NoError(t, err)
		if i == 0 {
			first = g.Events[0].Deliveries[0].ID
		}
	}
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(context.Background())) }()
	tag, err := tx.Exec(t.Context(), `SELECT FROM webhook.note ORDER BY id LIMIT 1 FOR UPDATE`)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	r, err := st.Claim(t.Context(), webhook.ClaimRequest{
		Now: m.now, LeaseUntil: m.now.Add(time.Minute), Limit: 10, Owner: "me",
		NewAttemptID: func() string { return m.New(id.Attempt, m.now) },
	})
	require.NoError(t, err)
	require.Len(t, r.Claims, 1)
	require.Equal(t, first, r.Claims[0].DeliveryID)
}

func TestFailuresInAllProcessesDisableAnEndpoint(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	r.answer(500)
	cfg := webhook.Config{DisableAfter: time.Millisecond, DisableExhausted: 6, Retry: webhook.Schedule()}
	a, b := newProcess(t, dsn, cfg).run(t), newProcess(t, dsn, cfg).run(t)
	e := a.endpoint(t, webhook.Endpoint{URL: r.URL})
	for n := range 3 { // of each process too few
		a.send(t, fmt.Sprint("a", n))
		b.send(t, fmt.Sprint("b", n))
	}
	require.Eventually(t, func() bool {
		e, err := b.GetEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		return e.State == webhook.EndpointDisabled
	}, 10*time.Second, 20*time.Millisecond)
}
