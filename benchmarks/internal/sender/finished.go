package sender

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
)

// history is a store with finished deliveries in it, driven without a dispatcher.
type history struct {
	id.Generator
	st         *sqlite.Store
	now        time.Time
	endpoints  []string
	generation int64
	next       int
}

const (
	historyEndpoints = 64
	historyFew       = 10_000
	historyPayload   = 64 // bytes of the old events; ten million of a kilobyte would not fit many disks
	historyClaims    = 64 // at a time
	historyRound     = 64 // times so many, to be timed
)

// finished tells what claiming and finishing costs beside many finished deliveries, relative to few. With param
// "fill" it stores so many and does no more.
func finished(ctx context.Context, task *load.Task) (r load.Result, err error) {
	few, err := openHistory(ctx, filepath.Join(task.Dir, "few.db"))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, few.st.Close()) }()
	many, err := openHistory(ctx, filepath.Join(task.Dir, "many.db"))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, many.st.Close()) }()
	if n := task.Params["fill"]; n > 0 {
		return r, errors.Join(few.fill(ctx, historyFew), many.fill(ctx, n))
	}
	r.Figures = map[string]float64{}
	for i := range task.Params["rounds"] + 1 {
		order := []*history{few, many}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		cost := map[*history]time.Duration{}
		for _, h := range order {
			if cost[h], err = h.round(ctx); err != nil {
				return r, err
			}
		}
		if i > 0 { // the first warms up
			r.Figures[fmt.Sprintf("ratio.%d", i)] = float64(cost[many]) / float64(cost[few])
			r.Figures[fmt.Sprintf("few_us.%d", i)] = float64(cost[few].Nanoseconds()) / 1e3
			r.Figures[fmt.Sprintf("many_us.%d", i)] = float64(cost[many].Nanoseconds()) / 1e3
		}
	}
	return r, nil
}

// openHistory opens a store, and makes the endpoints if it is new.
func openHistory(ctx context.Context, path string) (_ *history, err error) {
	st, err := sqlite.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	h := &history{st: st, now: time.Now().UTC().Truncate(time.Microsecond)}
	rows, generation, err := st.SyncEndpoints(ctx, 0, historyEndpoints)
	for len(rows) < historyEndpoints && err == nil {
		var row webhook.EndpointRow
		row, err = st.CreateEndpoint(ctx, webhook.EndpointRow{
			ID: h.New(id.Endpoint, h.now), State: webhook.EndpointEnabled, URL: "http://127.0.0.1/hook", CreatedAt: h.now, UpdatedAt: h.now,
		})
		rows, generation = append(rows, row), row.Generation
	}
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		h.endpoints = append(h.endpoints, row.ID)
	}
	h.generation = generation
	return h, nil
}

// fill stores deliveries and their results.
func (h *history) fill(ctx context.Context, n int) error {
	const each = 500
	payload := load.Payload(0, true)[:historyPayload]
	var last []webhook.SendGroup
	for batches := 0; n > 0 || len(last) > 0; batches++ {
		h.now = h.now.Add(time.Millisecond)
		sends := h.sends(min(each, n), payload, "filler")
		n -= len(sends)
		batch := webhook.Batch{Now: h.now, Sends: sends}
		for _, g := range last {
			batch.Outcomes = append(batch.Outcomes, h.success(g.Events[0].Deliveries[0].ID, 1))
		}
		if err := h.commit(ctx, batch); err != nil {
			return err
		}
		last = sends
		if batches%20 == 19 {
			if err := h.st.Maintain(ctx, h.now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *history) sends(n int, payload []byte, owner string) (groups []webhook.SendGroup) {
	for range n {
		h.next++
		groups = append(groups, webhook.SendGroup{Generation: h.generation, Events: []webhook.NewEvent{{
			Event: webhook.Event{
				ID: h.New(id.Event, h.now), Type: "order.created", Payload: payload, ContentType: "application/json", CreatedAt: h.now,
			},
			Deliveries: []webhook.NewDelivery{{
				ID: h.New(id.Delivery, h.now), EndpointID: h.endpoints[h.next%len(h.endpoints)], DueAt: h.now,
				LeasedBy: owner, LeaseUntil: h.now.Add(time.Minute),
			}},
		}}})
	}
	return groups
}

func (h *history) success(deliveryID string, lease int64) webhook.Outcome {
	status, preview, at := 200, `{"ok":true}`, h.now
	return webhook.Outcome{DeliveryID: deliveryID, Lease: lease, State: webhook.StateSucceeded,
		Attempt: &webhook.DeliveryAttempt{
			ID: h.New(id.Attempt, h.now), Trigger: webhook.TriggerInitial, Status: webhook.AttemptSucceeded,
			Method: "POST", URL: "http://127.0.0.1/hook", StatusCode: &status, ResponseBodyPreview: &preview,
			StartedAt: at, DeliveredAt: &at, RespondedAt: &at, CompletedAt: at, CreatedAt: at, UpdatedAt: at,
		}}
}

func (h *history) commit(ctx context.Context, b webhook.Batch) error {
	r, err := h.st.Commit(ctx, b)
	if err != nil {
		return err
	}
	for _, s := range r.Sends {
		if s.Status != webhook.SendStored {
			return fmt.Errorf("an event was not stored: %v", s.Status)
		}
	}
	for _, o := range r.Outcomes {
		if !o.Applied {
			return errors.New("an outcome was not applied")
		}
	}
	return nil
}

// round stores deliveries that nobody holds, and returns the CPU for each of claiming, finishing, and moving what
// was written into the database file.
func (h *history) round(ctx context.Context) (time.Duration, error) {
	h.now = h.now.Add(time.Millisecond)
	payload := load.Payload(0, true)
	for range historyRound {
		if err := h.commit(ctx, webhook.Batch{Now: h.now, Sends: h.sends(historyClaims, payload, "")}); err != nil {
			return 0, err
		}
	}
	if err := h.st.Maintain(ctx, h.now); err != nil {
		return 0, err
	}
	before, err := load.OwnCPU()
	if err != nil {
		return 0, err
	}
	for range historyRound {
		h.now = h.now.Add(time.Millisecond)
		if err := h.claimAndFinish(ctx); err != nil {
			return 0, err
		}
	}
	if err := h.st.Maintain(ctx, h.now); err != nil {
		return 0, err
	}
	after, err := load.OwnCPU()
	return (after - before) / (historyRound * historyClaims), err
}

func (h *history) claimAndFinish(ctx context.Context) error {
	r, err := h.st.Claim(ctx, webhook.ClaimRequest{
		Now: h.now, LeaseUntil: h.now.Add(time.Minute), Limit: historyClaims, PerEndpoint: historyClaims, Owner: "claimer",
		NewAttemptID: func() string { return h.New(id.Attempt, h.now) },
	})
	if err != nil {
		return err
	}
	if len(r.Claims) != historyClaims {
		return fmt.Errorf("%d claims instead of %d", len(r.Claims), historyClaims)
	}
	b := webhook.Batch{Now: h.now}
	for _, c := range r.Claims {
		b.Outcomes = append(b.Outcomes, h.success(c.DeliveryID, c.Lease))
	}
	return h.commit(ctx, b)
}
