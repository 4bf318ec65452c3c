package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

// RunFaults lets a dispatcher work over a store of which one call fails, each call in turn and in
// several ways, and holds it to its promises: what Send acknowledged is delivered, what it refused is
// not stored, the store stays sound, and nothing is sent twice. That last one is more than is promised,
// and holds here because no process dies:
//
//   - A result whose commit failed, or whose answer was lost, is kept and written again: no request.
//   - A Claim, or a Send that hands over, whose answer was lost leaves leases that nobody knows of. They
//     run out; that costs an interrupted attempt on record, time, and no request.
//   - A Retry whose answer was lost may have happened. Who then repeats it may send twice.
//
// open is called inside a bubble of testing/synctest.
func RunFaults(t *testing.T, open func(t *testing.T) webhook.Store) {
	methods := []string{
		"Commit", "Claim", "Requeue", "Prune", "Erase", "CreateEndpoint", "UpdateEndpoint", "GetEndpoint",
		"ListEndpoints", "SyncEndpoints", "GetEvent", "ListEvents", "GetDelivery", "ListDeliveries",
		"ListAttempts", "Stats",
	}
	synctest.Test(t, func(t *testing.T) {
		if _, ok := open(t).(webhook.BulkStore); ok {
			methods = append(methods, "CreateBulkRetry", "UpdateBulkRetry", "GetBulkRetry", "ListBulkRetries")
		}
	})
	for _, how := range []failure{
		{name: "Refused"},
		{name: "AnswerLost", done: true},
		{name: "Outage", lasts: 7 * time.Second},
		{name: "OutageBeyondLeases", lasts: 2 * time.Minute},
		{name: "ResultsLocked", lasts: 2 * time.Minute, only: "Commit", takes: 4 * time.Second},
	} {
		t.Run(how.name, func(t *testing.T) {
			for _, method := range methods {
				if how.only != "" && how.only != method {
					continue
				}
				nth, failed := 0, true
				for failed { // until there is no such call
					nth++
					failed = failOne(t, open, how, method, nth)
				}
				require.Greater(t, nth, 1, "%s was never called", method)
			}
		})
	}
}

// failOne plays with one call of one method failing. It reports whether there was such a call.
func failOne(t *testing.T, open func(t *testing.T) webhook.Store, how failure, method string, nth int) (failed bool) {
	synctest.Test(t, func(t *testing.T) {
		s := &scenario{t: t, how: how, real: open(t)}
		failed = s.play(method, nth)
	})
	if t.Failed() {
		t.Fatalf("that was with call %d of %s", nth, method)
	}
	return failed
}

// scenario is a program over a store that fails once.
type scenario struct {
	t    *testing.T
	how  failure
	real webhook.Store

	faults *faulty
	client *countingClient
	*webhook.Dispatcher
	refuses string              // the endpoint that refuses each event three times
	sent    map[string]*sending // by idempotency key
	dropped []string            // keys that were not sent again after an error
}

// sending is what the program knows of an event.
type sending struct {
	event    webhook.Event
	receipt  webhook.Receipt
	want     int // requests to each endpoint
	atMost   int
	canceled bool
	erased   bool
	bulk     string // the bulk retry that retried it
}

func (s *scenario) play(method string, nth int) (failed bool) {
	s.client = &countingClient{requests: map[string]int{}}
	s.sent = map[string]*sending{}
	var store webhook.Store
	s.faults, store = withFaults(s.real)
	s.Dispatcher = s.dispatcher(store)
	ctx := s.t.Context()
	for _, e := range []webhook.Endpoint{
		{URL: "https://a.example", EventTypes: []string{"a"}},
		{URL: "https://b.example", EventTypes: []string{"b"}, Ordered: true},
		{URL: "https://c.example", EventTypes: []string{"c"}},
		{URL: "https://e.example", EventTypes: []string{"e"}},
	} {
		made, err := s.CreateEndpoint(ctx, e)
		require.NoError(s.t, err)
		s.refuses = made.ID // the last
	}
	s.faults.arm(method, nth, s.how)
	stop := s.run(s.Dispatcher)
	s.work()
	failed = s.faults.disarm()
	time.Sleep(s.how.lasts + time.Minute) // results are written again, and lost leases run out
	require.NoError(s.t, s.Health(ctx), "the store works again, but it is not noticed")
	stop()
	s.settle()
	s.check()
	return failed
}

func (s *scenario) dispatcher(store webhook.Store) *webhook.Dispatcher {
	d, err := webhook.New(store, webhook.Config{
		HTTPClient: s.client, Retry: webhook.Schedule(time.Second, time.Second), AttemptTimeout: 5 * time.Second,
		PollInterval: 10 * time.Second,
		Logger:       slog.New(slog.DiscardHandler),
	})
	require.NoError(s.t, err)
	return d
}

func (s *scenario) run(d *webhook.Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		require.NoError(s.t, <-ended)
	}
}

// work calls every method that a program may call.
func (s *scenario) work() {
	ctx := s.t.Context()
	for n := range 3 {
		s.send(1, webhook.Event{Type: "a", Payload: fmt.Append(nil, n)})
		s.send(1, webhook.Event{Type: "b", Payload: fmt.Append(nil, n)})
	}
	s.send(2, webhook.Event{Type: "a", Payload: []byte("refuse once")})
	s.sendBatch(webhook.Event{Type: "a", Payload: []byte("x")}, webhook.Event{Type: "b", Payload: []byte("y")})
	s.sendOnce(webhook.Event{Type: "a", Payload: []byte("not repeated")})
	later := s.send(0, webhook.Event{Type: "a", Payload: []byte("later"), DeliverAt: time.Now().Add(time.Hour)})
	failed := []*sending{s.send(4, webhook.Event{Type: "e", Payload: refused}), s.send(4, webhook.Event{Type: "e", Payload: refused})}
	time.Sleep(3 * time.Second)

	s.insist(func() error { return s.Cancel(ctx, later.receipt.DeliveryIDs[0]) })
	later.canceled = true
	var endpoint webhook.Endpoint
	s.insist(func() error {
		all, err := s.ListEndpoints(ctx, webhook.EndpointQuery{})
		for _, e := range all {
			if e.URL == "https://c.example" {
				endpoint = e
			}
		}
		return err
	})
	s.insist(func() error { return s.PauseEndpoint(ctx, endpoint.ID) })
	held := s.send(1, webhook.Event{Type: "c", Payload: []byte("held")})
	s.insist(func() error { return s.UnpauseEndpoint(ctx, endpoint.ID) })
	s.insist(func() error { _, err := s.RotateSecret(ctx, endpoint.ID, 0); return err })
	var made webhook.Endpoint
	s.insist(func() (err error) {
		made, err = s.CreateEndpoint(ctx, webhook.Endpoint{URL: "https://d.example", EventTypes: []string{"d"}})
		return err
	})
	time.Sleep(2 * time.Second)
	s.retryOnce(held)
	s.look(held)
	s.replay(made.ID)
	s.erase()
	s.bulkRetry(failed)
}

// replay sends an event to an endpoint that was made after it. Repeating that adds nothing.
func (s *scenario) replay(endpointID string) {
	k := s.send(2, webhook.Event{Type: "a", Payload: []byte("replayed")})
	var r webhook.Receipt
	s.insist(func() (err error) {
		r, err = s.Replay(s.t.Context(), k.receipt.EventID, endpointID)
		return err
	})
	require.Len(s.t, r.DeliveryIDs, 1)
	k.receipt.DeliveryIDs = append(k.receipt.DeliveryIDs, r.DeliveryIDs...)
}

// erase takes the payloads of an event that was delivered and of one that is to be.
func (s *scenario) erase() {
	done := s.send(1, webhook.Event{Type: "a", Payload: []byte("erased after it was sent")})
	s.await(done, webhook.StateSucceeded)
	early := s.send(0, webhook.Event{Type: "a", Payload: []byte("erased before"), DeliverAt: time.Now().Add(time.Hour)})
	early.canceled = true
	for _, k := range []*sending{done, early} {
		s.insist(func() error { return s.EraseEvent(s.t.Context(), k.receipt.EventID) })
		k.erased = true
	}
}

// bulkRetry lets what one endpoint refused be tried again, by one bulk retry, and waits for its end.
func (s *scenario) bulkRetry(failed []*sending) {
	for _, k := range failed {
		s.await(k, webhook.StateExhausted)
	}
	if _, ok := s.real.(webhook.BulkStore); !ok {
		for _, k := range failed {
			s.insist(func() error { return s.Retry(s.t.Context(), k.receipt.DeliveryIDs[0]) })
		}
		return
	}
	ctx := s.t.Context()
	var b webhook.BulkRetry
	s.insist(func() error {
		// An answer that was lost may have left one.
		list, err := s.ListBulkRetries(ctx, webhook.BulkRetryQuery{})
		if err == nil && len(list) > 0 {
			b = list[0]
		} else if err == nil {
			b, err = s.BulkRetry(ctx, webhook.DeliveryQuery{EndpointID: s.refuses}, webhook.BulkRetryOptions{})
		}
		return err
	})
	bulkRetryID := b.ID
	for range 300 {
		s.insist(func() (err error) { b, err = s.GetBulkRetry(ctx, bulkRetryID); return err })
		if b.State == webhook.BulkRetryDone {
			break
		}
		time.Sleep(time.Second)
	}
	require.Equal(s.t, webhook.BulkRetryDone, b.State)
	for _, k := range failed {
		k.bulk = b.ID
	}
}

// await looks past the faults until a delivery is in a state.
func (s *scenario) await(k *sending, state webhook.DeliveryState) {
	for range 600 {
		item, err := s.real.GetDelivery(s.t.Context(), time.Now(), k.receipt.DeliveryIDs[0])
		require.NoError(s.t, err)
		if item.State == state {
			return
		}
		time.Sleep(time.Second)
	}
	require.Fail(s.t, "a delivery does not get on", "event %s, to be %s", k.event.Payload, state)
}

// look asks all questions.
func (s *scenario) look(of *sending) {
	ctx := s.t.Context()
	s.insist(func() error { _, err := s.GetEvent(ctx, of.receipt.EventID); return err })
	s.insist(func() error { _, err := s.ListEvents(ctx, webhook.EventQuery{}); return err })
	s.insist(func() error { _, err := s.GetDelivery(ctx, of.receipt.DeliveryIDs[0]); return err })
	s.insist(func() error { _, err := s.ListDeliveries(ctx, webhook.DeliveryQuery{}); return err })
	s.insist(func() error { _, err := s.ListAttempts(ctx, webhook.AttemptQuery{}); return err })
	s.insist(func() error { _, err := s.Stats(ctx, webhook.StatsQuery{}); return err })
	s.insist(func() error {
		e, err := s.ListEndpoints(ctx, webhook.EndpointQuery{Limit: 1})
		if err == nil {
			_, err = s.GetEndpoint(ctx, e[0].ID)
		}
		return err
	})
}

// insist repeats a call until the store's fault is over.
func (s *scenario) insist(call func() error) {
	var err error
	for range 200 {
		if err = call(); !errors.Is(err, errFault) {
			break
		}
		time.Sleep(time.Second)
	}
	if s.how.done && errors.Is(err, webhook.ErrConflict) {
		err = nil // the lost call had done it
	}
	require.NoError(s.t, err)
}

func (s *scenario) keep(want int, e webhook.Event) *sending {
	e.IdempotencyKey = fmt.Sprint(len(s.sent) + len(s.dropped))
	k := &sending{event: e, want: want, atMost: want}
	s.sent[e.IdempotencyKey] = k
	return k
}

// send repeats an event until it is stored; its key keeps it from being stored twice.
func (s *scenario) send(want int, e webhook.Event) *sending {
	k := s.keep(want, e)
	s.insist(func() (err error) {
		k.receipt, err = s.Send(s.t.Context(), k.event)
		return err
	})
	require.Len(s.t, k.receipt.DeliveryIDs, 1)
	return k
}

func (s *scenario) sendBatch(events ...webhook.Event) {
	kept := make([]*sending, len(events))
	for i := range events {
		kept[i] = s.keep(1, events[i])
		events[i] = kept[i].event
	}
	s.insist(func() error {
		receipts, err := s.SendBatch(s.t.Context(), events)
		for i := range receipts {
			kept[i].receipt = receipts[i]
		}
		return err
	})
}

// sendOnce takes an error as it is: nothing was stored, unless the answer was lost.
func (s *scenario) sendOnce(e webhook.Event) {
	k := s.keep(1, e)
	var err error
	if k.receipt, err = s.Send(s.t.Context(), k.event); err == nil {
		return
	}
	require.ErrorIs(s.t, err, errFault)
	delete(s.sent, k.event.IdempotencyKey)
	s.dropped = append(s.dropped, k.event.IdempotencyKey)
}

// retryOnce asks for another round. After an error that may or may not come.
func (s *scenario) retryOnce(k *sending) {
	ctx, id := s.t.Context(), k.receipt.DeliveryIDs[0]
	before, err := s.real.GetDelivery(ctx, time.Now(), id)
	require.NoError(s.t, err)
	err = s.Retry(ctx, id)
	k.atMost++
	if err == nil && before.State.Final() {
		k.want++
	} else if err != nil && !errors.Is(err, webhook.ErrConflict) { // it may be under way
		require.ErrorIs(s.t, err, errFault)
	}
}

// settle lets a dispatcher without faults do what is left.
func (s *scenario) settle() {
	d := s.dispatcher(s.real)
	stop := s.run(d)
	time.Sleep(time.Minute)
	require.NoError(s.t, d.Idle(s.t.Context()))
	stop()
}

func (s *scenario) check() {
	ctx := s.t.Context()
	CheckInvariants(s.t, s.real)
	for key, k := range s.sent {
		requests := s.client.count(k.receipt.EventID)
		require.GreaterOrEqual(s.t, requests, k.want, "requests for event %s (%s)", key, k.event.Payload)
		require.LessOrEqual(s.t, requests, k.atMost, "requests for event %s (%s)", key, k.event.Payload)
		for _, id := range k.receipt.DeliveryIDs {
			item, err := s.real.GetDelivery(ctx, time.Now(), id)
			require.NoError(s.t, err)
			state := webhook.StateSucceeded
			if k.canceled {
				state = webhook.StateCanceled
			}
			require.Equal(s.t, state, item.State, "event %s (%s)", key, k.event.Payload)
		}
		s.checkRepaired(k)
	}
	events, err := s.real.ListEvents(ctx, webhook.EventQuery{Limit: 500})
	require.NoError(s.t, err)
	for _, e := range events {
		if !s.how.done {
			require.NotContains(s.t, s.dropped, e.IdempotencyKey, "Send returned an error, but the event is stored")
		}
	}
}

func (s *scenario) checkRepaired(k *sending) {
	attempts, err := s.real.ListAttempts(s.t.Context(), webhook.AttemptQuery{EventID: k.receipt.EventID, Limit: 500})
	require.NoError(s.t, err)
	if k.bulk != "" {
		require.True(s.t, slices.ContainsFunc(attempts, func(a webhook.DeliveryAttempt) bool {
			return a.Trigger == webhook.TriggerBulkRetry && a.BulkRetryID == k.bulk
		}), "no attempt is the bulk retry's")
	}
	if !k.erased {
		return
	}
	e, err := s.real.GetEvent(s.t.Context(), k.receipt.EventID)
	require.NoError(s.t, err)
	require.Nil(s.t, e.Payload)
	require.NotNil(s.t, e.ErasedAt)
	for _, a := range attempts {
		require.Nil(s.t, a.RequestHeaders)
		require.Nil(s.t, a.ResponseBodyPreview)
	}
}

var refused = []byte("refuse thrice")

// countingClient answers 200, and 500 to the first requests of an event that asks for it.
type countingClient struct {
	mu       sync.Mutex
	requests map[string]int // by webhook-id
}

func (c *countingClient) count(eventID string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[eventID]
}

func (c *countingClient) Do(r *http.Request) (*http.Response, error) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := r.Header.Get("webhook-id")
	c.requests[id]++
	status := http.StatusOK
	if bytes.Equal(payload, []byte("refuse once")) && c.requests[id] == 1 || bytes.Equal(payload, refused) && c.requests[id] <= 3 {
		status = http.StatusInternalServerError
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}
