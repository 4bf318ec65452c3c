// Package sample fills a store with a plausible past, for screenshots, browser tests and measurements.
// It writes through the contract of webhook.Store, at times of its own.
package sample

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Receiver is a customer's endpoint and how it behaves.
type Receiver struct {
	webhook.Endpoint
	Fails   float64       // the share of attempts that fail
	Code    int           // what it answers then; 0: nothing
	Latency time.Duration // in the middle
	Weight  int           // of its share of the events; 0: 1
	Breaks  time.Duration // how often it breaks down, on average; 0: never
	Broken  time.Duration // for how long; next to all attempts fail then
}

// Plan says what happened before Now.
type Plan struct {
	Now       time.Time
	Span      time.Duration // how long ago it began
	Steps     int           // the span is simulated in so many
	Events    int           // of each step
	Receivers []Receiver
	Types     []string
	Seed      uint64
}

// Shop is a small set of customers with their troubles.
func Shop() []Receiver {
	e := func(tenant, url, description string) webhook.Endpoint {
		return webhook.Endpoint{TenantID: tenant, URL: url, Description: description}
	}
	billing := e("globex", "https://hooks.globex.example/billing?token=k3y", "Billing")
	billing.EventTypes = []string{"invoice.*"}
	return []Receiver{
		{Endpoint: e("acme", "https://api.acme.example/webhooks/orders", "Order service"), Fails: 0.01, Code: 503, Latency: 42 * time.Millisecond, Weight: 12},
		{Endpoint: e("acme", "https://warehouse.acme.example/in", "Warehouse"), Fails: 0.04, Code: 500, Latency: 130 * time.Millisecond, Weight: 8},
		{Endpoint: billing, Fails: 0.02, Code: 429, Latency: 75 * time.Millisecond, Weight: 5},
		{Endpoint: e("globex", "https://staging.globex.example/hooks/v2", "Staging"), Fails: 0.97, Code: 0, Latency: 900 * time.Millisecond},
		{Endpoint: e("initech", "https://initech.example/printers/events", "Printers"), Fails: 0.12, Code: 502, Latency: 310 * time.Millisecond, Weight: 3},
		{Endpoint: e("umbrella", "https://lab.umbrella.example/callbacks", ""), Fails: 0.003, Code: 500, Latency: 18 * time.Millisecond, Weight: 9},
	}
}

var shopTypes = []string{"order.created", "order.paid", "order.shipped", "invoice.created", "invoice.paid", "customer.updated"}

// Fill creates the receivers' endpoints, lets the past happen, and returns the endpoints' IDs. Nothing
// else may use the store meanwhile.
func Fill(ctx context.Context, d *webhook.Dispatcher, store webhook.Store, p Plan) ([]string, error) {
	s, err := begin(ctx, d, store, p)
	if err != nil {
		return nil, err
	}
	return s.endpoints, s.live(ctx, p.Now.Add(-p.Span), p.Now)
}

// begin creates the endpoints.
func begin(ctx context.Context, d *webhook.Dispatcher, store webhook.Store, p Plan) (*simulation, error) {
	if len(p.Types) == 0 {
		p.Types = shopTypes
	}
	s := &simulation{Plan: p, store: store, rand: rand.New(rand.NewPCG(p.Seed, 1)), byID: map[string]*receiver{}}
	for _, r := range p.Receivers {
		e, err := d.CreateEndpoint(ctx, r.Endpoint)
		if err != nil {
			return nil, err
		}
		r.Endpoint = e
		s.weights += max(r.Weight, 1)
		s.receivers = append(s.receivers, &receiver{Receiver: r, until: s.weights})
		s.endpoints = append(s.endpoints, e.ID)
		s.byID[e.ID] = s.receivers[len(s.receivers)-1]
	}
	_, generation, err := store.SyncEndpoints(ctx, 0, 1)
	s.generation = generation
	return s, err
}

type simulation struct {
	Plan
	store      webhook.Store
	ids        id.Generator
	rand       *rand.Rand
	receivers  []*receiver
	endpoints  []string // their IDs
	byID       map[string]*receiver
	weights    int // of all receivers
	generation int64
	now        time.Time
	sent       int
	owed       float64 // of the next event
}

type receiver struct {
	Receiver
	until   int       // its weight and that of all before it
	mended  time.Time // when the last breakdown ends
	checked time.Time
}

// live simulates a stretch of time.
func (s *simulation) live(ctx context.Context, from, to time.Time) error {
	for i := range s.Steps {
		share := float64(i+1) / float64(s.Steps)
		s.now = from.Add(time.Duration(share * float64(to.Sub(from)))).Truncate(time.Microsecond)
		if err := s.step(ctx, s.wave()); err != nil {
			return fmt.Errorf("sample: step %d: %w", i, err)
		}
	}
	return nil
}

// drain goes on, without new events, until all retries are over.
func (s *simulation) drain(ctx context.Context) error {
	for {
		next, err := s.store.Claim(ctx, webhook.ClaimRequest{Now: s.now})
		if err != nil || next.NextDue.IsZero() {
			return err
		}
		s.now = s.now.Add(time.Minute)
		if next.NextDue.After(s.now) {
			s.now = next.NextDue
		}
		if err := s.step(ctx, 0); err != nil {
			return err
		}
	}
}

const owner = "sample"

// step sends this step's events and makes what is due.
func (s *simulation) step(ctx context.Context, events int) error {
	claims, err := s.send(ctx, events, true)
	if err != nil {
		return err
	}
	due, err := s.store.Claim(ctx, webhook.ClaimRequest{
		Now: s.now, LeaseUntil: s.now.Add(time.Minute), Limit: 10_000, PerEndpoint: 10_000, Owner: owner,
		NewAttemptID: func() string { return s.ids.New(id.Attempt, s.now) },
	})
	if err != nil {
		return err
	}
	outcomes := webhook.Batch{Now: s.now.Add(time.Second)}
	for _, c := range append(claims, due.Claims...) {
		outcomes.Outcomes = append(outcomes.Outcomes, s.outcome(c))
	}
	_, err = s.store.Commit(ctx, outcomes)
	return err
}

// send stores events, claimed or free.
func (s *simulation) send(ctx context.Context, events int, claimed bool) (claims []webhook.Claim, err error) {
	group := webhook.SendGroup{Generation: s.generation}
	for range events {
		e, claim := s.event()
		if !claimed {
			e.Deliveries[0].LeasedBy = ""
		}
		claims = append(claims, claim)
		group.Events = append(group.Events, e)
	}
	if events == 0 {
		return nil, nil
	}
	result, err := s.store.Commit(ctx, webhook.Batch{Now: s.now, Sends: []webhook.SendGroup{group}})
	if err != nil {
		return nil, err
	}
	if status := result.Sends[0].Status; status != webhook.SendStored {
		return nil, fmt.Errorf("the store answered %d", status)
	}
	return claims, nil
}

// wave is how many events there are in this step: days have a rhythm.
func (s *simulation) wave() int {
	hour := float64(s.now.Hour()) + float64(s.now.Minute())/60
	tide := 0.55 + 0.45*math.Sin((hour-8)/24*2*math.Pi)
	s.owed += float64(s.Events) * tide * (0.8 + 0.4*s.rand.Float64())
	n := int(s.owed)
	s.owed -= float64(n)
	return n
}

func (s *simulation) event() (webhook.NewEvent, webhook.Claim) {
	s.sent++
	r := s.next()
	e := webhook.Event{
		ID: s.ids.New(id.Event, s.now), TenantID: r.TenantID, Type: s.eventType(r.Receiver), ContentType: "application/json",
		Payload: s.payload(), CreatedAt: s.now,
	}
	if s.sent%3 == 0 {
		e.Attributes = map[string]string{"region": []string{"eu", "us"}[s.sent%2]}
		e.IdempotencyKey = fmt.Sprintf("order-%d", 48_000+s.sent)
	}
	delivery := webhook.NewDelivery{
		ID: s.ids.New(id.Delivery, s.now), EndpointID: r.ID, DueAt: s.now, LeasedBy: owner, LeaseUntil: s.now.Add(time.Minute),
	}
	return webhook.NewEvent{Event: e, Fingerprint: fingerprint(e), Deliveries: []webhook.NewDelivery{delivery}}, webhook.Claim{
		DeliveryID: delivery.ID, EndpointID: r.ID, Event: e, Lease: 1, LeaseUntil: delivery.LeaseUntil, AttemptNumber: 1,
		Trigger: webhook.TriggerInitial, DueAt: s.now, CreatedAt: s.now,
	}
}

// next draws the receiver of the next event.
func (s *simulation) next() *receiver {
	at := s.rand.IntN(s.weights)
	i, _ := slices.BinarySearchFunc(s.receivers, at, func(r *receiver, at int) int { return cmp.Compare(r.until, at+1) })
	return s.receivers[i]
}

// fails decides about an attempt. A receiver may break down between two of them.
func (s *simulation) fails(r *receiver) bool {
	if since := s.now.Sub(r.checked); r.Breaks > 0 && !r.checked.IsZero() && s.rand.Float64() < float64(since)/float64(r.Breaks) {
		r.mended = s.now.Add(r.Broken)
	}
	r.checked = s.now
	if s.now.Before(r.mended) {
		return s.rand.Float64() < 0.95
	}
	return s.rand.Float64() < r.Fails
}

func fingerprint(e webhook.Event) []byte {
	if e.IdempotencyKey == "" {
		return nil
	}
	return []byte(e.IdempotencyKey)
}

// eventType is one that the receiver subscribes to.
func (s *simulation) eventType(r Receiver) string {
	first := s.rand.IntN(len(s.Types))
	for i := range s.Types {
		t := s.Types[(first+i)%len(s.Types)]
		if len(r.EventTypes) == 0 || strings.HasPrefix(t, strings.TrimSuffix(r.EventTypes[0], "*")) {
			return t
		}
	}
	return s.Types[0]
}

func (s *simulation) payload() []byte {
	return fmt.Appendf(nil, `{"id":"ord_%d","total":{"amount":%d,"currency":"EUR"},"lines":[{"sku":"A-%d","quantity":%d}],"customer":{"name":"Jane Doe","country":"NL"}}`,
		48_000+s.sent, 900+s.rand.IntN(40_000), 100+s.rand.IntN(900), 1+s.rand.IntN(4))
}

// schedule are the waits of the simulated retries.
var schedule = []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour}

func (s *simulation) outcome(c webhook.Claim) webhook.Outcome {
	r := s.byID[c.EndpointID]
	o := webhook.Outcome{DeliveryID: c.DeliveryID, Lease: c.Lease, State: webhook.StateSucceeded}
	a := s.attempt(c, r)
	o.Attempt = a
	if a.Status == webhook.AttemptSucceeded {
		return o
	}
	o.Failed = c.Failed + 1
	if o.Failed > len(schedule) {
		o.State, o.FailureCode = webhook.StateExhausted, a.ErrorCode
		return o
	}
	o.State, o.NextAt = webhook.StateScheduled, a.CompletedAt.Add(schedule[o.Failed-1])
	a.NextAttemptAt = &o.NextAt
	return o
}

func (s *simulation) attempt(c webhook.Claim, r *receiver) *webhook.DeliveryAttempt {
	took := time.Duration(float64(r.Latency) * math.Exp(s.rand.NormFloat64()*0.6)).Round(time.Millisecond)
	took = min(max(took, time.Millisecond), 14*time.Second)
	started := s.now.Add(time.Duration(s.rand.IntN(900)) * time.Microsecond)
	ended := started.Add(took)
	a := &webhook.DeliveryAttempt{
		ID: s.ids.New(id.Attempt, s.now), TenantID: c.Event.TenantID, EventID: c.Event.ID, EventType: c.Event.Type,
		DeliveryID: c.DeliveryID, EndpointID: c.EndpointID, AttemptNumber: c.AttemptNumber, Trigger: c.Trigger,
		Status: webhook.AttemptSucceeded, Method: http.MethodPost, URL: r.URL, StartedAt: started, CompletedAt: ended,
		DurationMS: took.Milliseconds(), CreatedAt: ended, UpdatedAt: ended,
	}
	status := http.StatusOK
	if s.fails(r) {
		a.Status, status = webhook.AttemptFailed, r.Code
	}
	if status == 0 {
		a.ErrorCode, a.Error = webhook.CodeConnectionRefused, "dial tcp 203.0.113.7:443: connect: connection refused"
		return a
	}
	if status != http.StatusOK {
		a.ErrorCode = webhook.CodeBadResponse
	}
	a.StatusCode, a.DeliveredAt, a.RespondedAt = &status, &started, &ended
	s.capture(a, c, took)
	return a
}

// capture adds what a request and its answer look like.
func (s *simulation) capture(a *webhook.DeliveryAttempt, c webhook.Claim, took time.Duration) {
	a.RemoteAddr = "203.0.113.7:443"
	ms := float64(took) / float64(time.Millisecond)
	a.Timings = &webhook.Timings{TTFBMS: round(ms * 0.7)}
	if s.rand.IntN(3) == 0 || c.AttemptNumber > 1 {
		a.Timings = &webhook.Timings{DNSMS: round(ms * 0.08), ConnectMS: round(ms * 0.14), TLSMS: round(ms * 0.2), TTFBMS: round(ms * 0.5)}
	}
	a.RequestHeaders = map[string]string{
		"Content-Type": c.Event.ContentType, "User-Agent": "outhook-webhook/1 (+https://github.com/outhook/webhook)",
		webhook.HeaderID: c.Event.ID, webhook.HeaderTimestamp: fmt.Sprint(a.StartedAt.Unix()),
		webhook.HeaderSignature: "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
	}
	a.ResponseHeaders = map[string]string{"Content-Type": "application/json", "Date": a.CompletedAt.Format(http.TimeFormat), "Server": "nginx"}
	preview := `{"received":true}`
	switch *a.StatusCode {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		preview = `{"error":"slow down"}`
		wait := int64(60_000)
		a.RetryAfterMS = &wait
	default:
		preview = "<html><head><title>" + http.StatusText(*a.StatusCode) + "</title></head>\n<body>\n<center><h1>" +
			http.StatusText(*a.StatusCode) + "</h1></center>\n<hr><center>nginx</center>\n</body>\n</html>"
		a.ResponseHeaders["Content-Type"] = "text/html"
	}
	a.ResponseBodyPreview = &preview
}

func round(ms float64) float64 { return math.Round(ms*10) / 10 }
