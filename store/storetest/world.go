package storetest

import (
	"context"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// start is when every test begins: on no boundary of anything but a microsecond.
var start = time.Date(2026, 3, 14, 9, 26, 53, 589_793_000, time.UTC)

const (
	acme      = "acme" // the tenant of most rows
	leaseTime = 30 * time.Second
)

// world is a store under test, with a clock and the little that a dispatcher would do.
type world struct {
	*require.Assertions
	t   tester
	ctx context.Context
	s   webhook.Store
	ids id.Generator
	now time.Time
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	require.TestingT
	Helper()
	Skip(args ...any)
}

func newWorld(ctx context.Context, t tester, s webhook.Store) *world {
	return &world{Assertions: require.New(t), t: t, ctx: ctx, s: s, now: start}
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

func (w *world) newID(prefix string) string { return w.ids.New(prefix, w.now) }

func (w *world) newAttemptID() string { return w.newID(id.Attempt) }

// attemptIDFor gives every other first attempt the ULID of its delivery, as a dispatcher does with those that
// start at once.
func (w *world) attemptIDFor(c webhook.Claim) string {
	ulid := c.DeliveryID[len(id.Delivery):]
	if c.Lease == 1 && strings.IndexByte("0123456789abcdefghjkmnpqrstvwxyz", ulid[len(ulid)-1])%2 == 0 {
		return id.Attempt + ulid
	}
	return w.newAttemptID()
}

// endpoint creates an enabled endpoint of acme, unless changed.
func (w *world) endpoint(change ...func(*webhook.EndpointRow)) string {
	w.t.Helper()
	row := webhook.EndpointRow{
		ID: w.newID(id.Endpoint), TenantID: acme, State: webhook.EndpointEnabled,
		URL: "https://example.com/hook", Config: []byte(`{"v":1}`), CreatedAt: w.now, UpdatedAt: w.now,
	}
	for _, c := range change {
		c(&row)
	}
	_, err := w.s.CreateEndpoint(w.ctx, row)
	w.NoError(err)
	return row.ID
}

func ordered(row *webhook.EndpointRow) { row.Ordered = true }

func (w *world) update(endpointID string, change func(*webhook.EndpointRow)) webhook.EndpointRow {
	w.t.Helper()
	row, err := w.s.UpdateEndpoint(w.ctx, endpointID, func(row *webhook.EndpointRow) error {
		change(row)
		return nil
	})
	w.NoError(err)
	return row
}

func (w *world) setState(endpointID string, state webhook.EndpointState) {
	w.t.Helper()
	w.update(endpointID, func(row *webhook.EndpointRow) {
		row.State = state
		if state == webhook.EndpointEnabled {
			row.ReleasedAt = w.now
		}
	})
}

func (w *world) health(endpointID string) webhook.EndpointHealth {
	w.t.Helper()
	row, err := w.s.GetEndpoint(w.ctx, endpointID)
	w.NoError(err)
	return row.Health
}

func (w *world) generation() int64 {
	w.t.Helper()
	_, generation, err := w.s.SyncEndpoints(w.ctx, 0, 1)
	w.NoError(err)
	return generation
}

// event makes an event for the endpoints, due now, not yet stored.
func (w *world) event(endpointIDs ...string) webhook.NewEvent {
	n := webhook.NewEvent{Event: webhook.Event{
		ID: w.newID(id.Event), TenantID: acme, Type: "order.created", Payload: []byte(`{"n":1}`),
		ContentType: "application/json", CreatedAt: w.now,
	}}
	for _, endpointID := range endpointIDs {
		n.Deliveries = append(n.Deliveries, webhook.NewDelivery{
			ID: w.newID(id.Delivery), EndpointID: endpointID, DueAt: w.now,
		})
	}
	return n
}

// keyed gives an event an idempotency key and a fingerprint.
func keyed(n webhook.NewEvent, key, fingerprint string) webhook.NewEvent {
	n.Event.IdempotencyKey, n.Fingerprint = key, []byte(fingerprint)
	return n
}

// leased hands an event's deliveries over to owner.
func (w *world) leased(n webhook.NewEvent, owner string) webhook.NewEvent {
	for i := range n.Deliveries {
		n.Deliveries[i].LeasedBy, n.Deliveries[i].LeaseUntil = owner, w.now.Add(leaseTime)
	}
	return n
}

func (w *world) group(events ...webhook.NewEvent) webhook.SendGroup {
	return webhook.SendGroup{Generation: w.generation(), Events: events}
}

func (w *world) commit(b webhook.Batch) webhook.Result {
	w.t.Helper()
	if b.Now.IsZero() {
		b.Now = w.now
	}
	r, err := w.s.Commit(w.ctx, b)
	w.NoError(err)
	w.Len(r.Sends, len(b.Sends))
	w.Len(r.Outcomes, len(b.Outcomes))
	return r
}

func (w *world) sendGroups(groups ...webhook.SendGroup) []webhook.SendResult {
	w.t.Helper()
	return w.commit(webhook.Batch{Sends: groups}).Sends
}

// store stores an event and returns the IDs of its deliveries.
func (w *world) store(n webhook.NewEvent) []string {
	w.t.Helper()
	r := w.sendGroups(w.group(n))[0]
	w.Equal(webhook.SendStored, r.Status)
	w.Len(r.Receipts, 1)
	return r.Receipts[0].DeliveryIDs
}

// send stores an event for one endpoint, due now, and returns the delivery's ID.
func (w *world) send(endpointID string) string {
	w.t.Helper()
	return w.store(w.event(endpointID))[0]
}

// sendMany stores n events for one endpoint.
func (w *world) sendMany(endpointID string, n int) (deliveryIDs []string) {
	w.t.Helper()
	for left := n; left > 0; left -= 500 {
		var events []webhook.NewEvent
		for range min(left, 500) {
			events = append(events, w.event(endpointID))
		}
		for _, r := range w.sendGroups(w.group(events...))[0].Receipts {
			deliveryIDs = append(deliveryIDs, r.DeliveryIDs...)
		}
	}
	w.Len(deliveryIDs, n)
	return deliveryIDs
}

func (w *world) request(limit int) webhook.ClaimRequest {
	return webhook.ClaimRequest{
		Now: w.now, LeaseUntil: w.now.Add(leaseTime), Limit: limit, PerEndpoint: max(limit, 1), Owner: "me",
		NewAttemptID: w.newAttemptID,
	}
}

func (w *world) claimAs(r webhook.ClaimRequest) webhook.ClaimResult {
	w.t.Helper()
	res, err := w.s.Claim(w.ctx, r)
	w.NoError(err)
	return res
}

func (w *world) claim(limit int) []webhook.Claim {
	w.t.Helper()
	return w.claimAs(w.request(limit)).Claims
}

// claimOne claims and expects exactly one.
func (w *world) claimOne() webhook.Claim {
	w.t.Helper()
	claims := w.claim(10)
	w.Len(claims, 1)
	return claims[0]
}

func (w *world) claimNone() {
	w.t.Helper()
	w.Empty(w.claim(10))
}

// attempt makes the record of one request under a claim, started now and answered with code 20 ms
// later; 0 is a refused connection.
func (w *world) attempt(c webhook.Claim, code int) *webhook.DeliveryAttempt {
	done := w.now.Add(20 * time.Millisecond)
	a := &webhook.DeliveryAttempt{
		ID: w.attemptIDFor(c), TenantID: c.Event.TenantID, EventID: c.Event.ID, EventType: c.Event.Type,
		DeliveryID: c.DeliveryID, EndpointID: c.EndpointID, AttemptNumber: c.AttemptNumber,
		Trigger: c.Trigger, BulkRetryID: c.BulkRetryID, Status: webhook.AttemptFailed,
		Method: "POST", URL: "https://example.com/hook", RemoteAddr: "192.0.2.1:443",
		RequestHeaders: map[string]string{"webhook-id": c.Event.ID}, StartedAt: w.now, CompletedAt: done,
		DurationMS: 20, CreatedAt: w.now, UpdatedAt: w.now,
	}
	if code == 0 {
		a.ErrorCode, a.Error = webhook.CodeConnectionRefused, "connection refused"
		return a
	}
	preview, written := "thank you", w.now
	a.StatusCode, a.RespondedAt, a.DeliveredAt = &code, &done, &written
	a.ResponseHeaders, a.ResponseBodyPreview = map[string]string{"Content-Type": "text/plain"}, &preview
	if code/100 == 2 {
		a.Status = webhook.AttemptSucceeded
	} else {
		a.ErrorCode = webhook.CodeBadResponse
	}
	return a
}

// outcome is what a dispatcher would make of an answer: success, or another try after a minute.
func (w *world) outcome(c webhook.Claim, code int) webhook.Outcome {
	o := webhook.Outcome{
		DeliveryID: c.DeliveryID, Lease: c.Lease, Attempt: w.attempt(c, code),
		Uncharged: c.Uncharged, Deferrals: c.Deferrals,
	}
	if code/100 == 2 {
		o.State, o.Failed, o.Uncharged = webhook.StateSucceeded, c.Failed, 0
		return o
	}
	o.State, o.Failed, o.NextAt = webhook.StateScheduled, c.Failed+1, w.now.Add(time.Minute)
	next := o.NextAt
	o.Attempt.NextAttemptAt = &next
	return o
}

// ended is the outcome of a claim that ends its delivery without success.
func (w *world) ended(c webhook.Claim, code int, state webhook.DeliveryState) webhook.Outcome {
	o := w.outcome(c, code)
	o.State, o.FailureCode, o.NextAt, o.Attempt.NextAttemptAt = state, o.Attempt.ErrorCode, time.Time{}, nil
	return o
}

func (w *world) finish(outcomes ...webhook.Outcome) []webhook.OutcomeResult {
	w.t.Helper()
	return w.commit(webhook.Batch{Outcomes: outcomes}).Outcomes
}

// apply commits one outcome that must take effect.
func (w *world) apply(o webhook.Outcome) webhook.OutcomeResult {
	w.t.Helper()
	r := w.finish(o)[0]
	w.True(r.Applied, "the outcome was not applied")
	w.False(r.Taken)
	return r
}

// handedOver is the claim that the sender of a leased delivery holds.
func handedOver(n webhook.NewEvent, i int) webhook.Claim {
	d := n.Deliveries[i]
	return webhook.Claim{
		DeliveryID: d.ID, EndpointID: d.EndpointID, Event: n.Event, Lease: 1, LeaseUntil: d.LeaseUntil,
		AttemptNumber: 1, Trigger: webhook.TriggerInitial, DueAt: d.DueAt, CreatedAt: n.Event.CreatedAt,
	}
}

func (w *world) get(deliveryID string) webhook.DeliveryListItem {
	w.t.Helper()
	item, err := w.s.GetDelivery(w.ctx, w.now, deliveryID)
	w.NoError(err)
	return item
}

func (w *world) state(deliveryID string) webhook.DeliveryState {
	w.t.Helper()
	return w.get(deliveryID).State
}

// attempts returns a delivery's attempts in the order of their numbers.
func (w *world) attempts(deliveryID string) []webhook.DeliveryAttempt {
	w.t.Helper()
	list, err := w.s.ListAttempts(w.ctx, webhook.AttemptQuery{AllTenants: true, DeliveryID: deliveryID, Limit: 500})
	w.NoError(err)
	byNumber(list)
	return list
}

func (w *world) list(q webhook.DeliveryQuery) (deliveryIDs []string) {
	w.t.Helper()
	items, err := w.s.ListDeliveries(w.ctx, w.now, q)
	w.NoError(err)
	for _, item := range items {
		deliveryIDs = append(deliveryIDs, item.ID)
	}
	return deliveryIDs
}

func (w *world) requeue(r webhook.RequeueRequest) []webhook.RequeueResult {
	w.t.Helper()
	r.Now = w.now
	res, err := w.s.Requeue(w.ctx, r)
	w.NoError(err)
	w.Len(res, len(r.IDs))
	return res
}

func (w *world) retry(deliveryID string) webhook.RequeueResult {
	w.t.Helper()
	return w.requeue(webhook.RequeueRequest{
		IDs: []string{deliveryID}, Action: webhook.RequeueRetry, Trigger: webhook.TriggerManual,
	})[0]
}

func (w *world) cancel(deliveryID string) webhook.RequeueResult {
	w.t.Helper()
	return w.requeue(webhook.RequeueRequest{
		IDs: []string{deliveryID}, Action: webhook.RequeueCancel, Code: webhook.CodeCancelled,
	})[0]
}
