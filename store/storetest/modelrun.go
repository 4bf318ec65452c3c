package storetest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// RunModel does random sequences of everything a dispatcher may do with a store and holds answers and
// views against those of a plain model. The flags of package rapid (-rapid.checks, -rapid.steps) say
// how much; a failure prints the shortest sequence found that leads to it.
func RunModel(t *testing.T, open func(t *testing.T) webhook.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		if c, ok := s.(io.Closer); ok {
			defer func() { _ = c.Close() }() // at once: shrinking opens hundreds
		}
		x := &machine{
			world: newWorld(context.Background(), rt, s), rt: rt, names: map[string]string{}, m: &model{},
		}
		x.m.generation = x.generation()
		x.createEndpoint(rt)
		x.createEndpoint(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":             x.compare,
			"send":         x.sendEvents,
			"sendAgain":    x.sendAgain,
			"replay":       x.replaySome,
			"claim":        x.claimSome,
			"claimAll":     x.claimAll,
			"finish":       x.finishSome,
			"finishMore":   x.finishSome,
			"requeue":      x.requeueSome,
			"create":       x.createEndpoint,
			"change":       x.changeEndpoint,
			"prune":        x.pruneRound,
			"eraseEvent":   x.eraseEvent,
			"eraseTenant":  x.eraseTenant,
			"wait":         x.wait,
			"list":         x.listSome,
			"listAttempts": x.listAttempts,
		})
		CheckInvariants(rt, s)
	})
}

// machine drives a store and the model side by side.
type machine struct {
	*world
	rt      *rapid.T
	m       *model
	names   map[string]string // short ones, for the log
	claims  []*ticket
	groups  []webhook.SendGroup
	pruned  time.Time // hours before that may be gone
	counter map[string]int
}

// ticket is a claim, with what was made of it.
type ticket struct {
	webhook.Claim
	outcome  *webhook.Outcome
	returned bool
}

func (x *machine) step(rt *rapid.T, format string, args ...any) {
	x.rt = rt
	for i, arg := range args {
		if s, ok := arg.(string); ok && x.names[s] != "" {
			args[i] = x.names[s]
		}
	}
	rt.Logf("%8s "+format, append([]any{x.now.Sub(start).Round(time.Millisecond)}, args...)...)
}

// call gives an ID a short name.
func (x *machine) call(prefix, s string) string {
	if x.counter == nil {
		x.counter = map[string]int{}
	}
	if x.names[s] == "" {
		x.counter[prefix]++
		x.names[s] = fmt.Sprintf("%s%d", prefix, x.counter[prefix])
	}
	return s
}

func number(rt *rapid.T, from, to int, label string) int {
	return rapid.IntRange(from, to).Draw(rt, label)
}

func oneOf[T any](rt *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(rt, label) }

func chance(rt *rapid.T, oneIn int, label string) bool { return number(rt, 1, oneIn, label) == oneIn }

func (x *machine) tick() { x.pass(time.Millisecond) }

func (x *machine) wait(rt *rapid.T) {
	d := oneOf(rt, "time", time.Millisecond, time.Second, 10*time.Second, leaseTime, 90*time.Second, time.Hour)
	x.pass(d)
	x.step(rt, "after a wait of %s", d)
}

func (x *machine) createEndpoint(rt *rapid.T) {
	if len(x.m.endpoints) == 8 {
		rt.Skip("enough endpoints")
	}
	x.tick()
	row := webhook.EndpointRow{
		ID: x.call("e", x.newID(id.Endpoint)), TenantID: oneOf(rt, "tenant", acme, acme, ""), State: webhook.EndpointEnabled,
		URL: "https://example.com/" + x.counterOf("e"), Ordered: chance(rt, 4, "ordered"), Config: []byte("config"),
		CreatedAt: x.now, UpdatedAt: x.now,
	}
	x.step(rt, "create %s, tenant %q, ordered %v", row.ID, row.TenantID, row.Ordered)
	got, err := x.s.CreateEndpoint(x.ctx, row)
	x.NoError(err)
	x.m.generation++
	row.Generation = x.m.generation
	x.Equal(row, got)
	x.m.endpoints = append(x.m.endpoints, &modelEndpoint{EndpointRow: row})
}

func (x *machine) counterOf(prefix string) string { return fmt.Sprint(x.counter[prefix]) }

func (x *machine) changeEndpoint(rt *rapid.T) {
	x.tick()
	e := oneOf(rt, "endpoint", x.m.endpoints...)
	state := oneOf(rt, "state", webhook.EndpointEnabled, webhook.EndpointEnabled, webhook.EndpointPaused,
		webhook.EndpointDisabled, webhook.EndpointDeleted)
	toggle, cancel := chance(rt, 4, "toggle ordered"), chance(rt, 2, "cancel pending")
	change := func(row *webhook.EndpointRow) error {
		row.State, row.UpdatedAt, row.CancelPending, row.DisabledReason = state, x.now, "", ""
		if state == webhook.EndpointEnabled {
			row.ReleasedAt = x.now
		}
		if state == webhook.EndpointDisabled {
			row.DisabledReason = "because"
			if cancel {
				row.CancelPending = webhook.CodeEndpointDisabled
			}
		}
		if state == webhook.EndpointDeleted {
			row.CancelPending = webhook.CodeMissingURL
		}
		row.Ordered = row.Ordered != toggle
		return nil
	}
	x.step(rt, "change %s to %s, toggle ordered %v", e.ID, state, toggle)
	got, err := x.s.UpdateEndpoint(x.ctx, e.ID, change)
	if e.Deleted() {
		x.ErrorIs(err, webhook.ErrNotFound)
		return
	}
	x.NoError(err)
	x.NoError(change(&e.EndpointRow))
	x.m.generation++
	e.Generation = x.m.generation
	x.sameRow(e, got)
}

func (x *machine) claimAll(rt *rapid.T) {
	x.tick()
	x.doClaim(rt, x.request(100))
}

func (x *machine) claimSome(rt *rapid.T) {
	x.tick()
	r := x.request(number(rt, 0, 6, "limit"))
	r.PerEndpoint = number(rt, 1, 3, "per endpoint")
	r.Caps = map[string]int{}
	for _, e := range x.m.endpoints {
		if chance(rt, 5, "exclude") {
			r.Exclude = append(r.Exclude, e.ID)
		} else if chance(rt, 5, "cap") {
			r.Caps[e.ID] = number(rt, 0, 3, "cap")
		}
		if chance(rt, 5, "early") {
			if r.Early == nil {
				r.Early = map[string]int{}
			}
			r.Early[e.ID] = number(rt, 1, 3, "ahead of time")
		}
	}
	x.doClaim(rt, r)
}

func (x *machine) doClaim(rt *rapid.T, r webhook.ClaimRequest) {
	x.step(rt, "claim %d, per endpoint %d, caps %v, exclude %v, early %v", r.Limit, r.PerEndpoint, r.Caps, r.Exclude, r.Early)
	got := x.claimAs(r)
	x.LessOrEqual(len(got.Claims), r.Limit)
	x.Equal(x.m.generation, got.Generation)
	taken, early, claimed := map[string]int{}, map[string]int{}, map[string]bool{}
	interrupted := map[string]webhook.DeliveryAttempt{}
	for _, a := range got.Interrupted {
		interrupted[a.DeliveryID] = a
	}
	x.Len(interrupted, len(got.Interrupted))
	for _, c := range got.Claims {
		x.step(rt, "  got %s, lease %d", c.DeliveryID, c.Lease)
		x.legal(c, r, taken, early)
		a := interrupted[c.DeliveryID]
		want, lost := x.m.claim(x.m.delivery(c.DeliveryID), r, a.ID)
		x.Equal(want, c)
		if lost != nil {
			x.sameAttempt(lost, a)
			delete(interrupted, c.DeliveryID)
		}
		claimed[c.DeliveryID] = true
		x.claims = append(x.claims, &ticket{Claim: c})
	}
	x.Empty(interrupted, "interrupted attempts of deliveries that were not claimed")
	x.complete(got, r, taken, claimed)
}

func (x *machine) allowed(e *modelEndpoint, r webhook.ClaimRequest) int {
	if slices.Contains(r.Exclude, e.ID) {
		return 0
	}
	if n, ok := r.Caps[e.ID]; ok {
		return n
	}
	return r.PerEndpoint
}

// legal checks that c was the right one of its endpoint.
func (x *machine) legal(c webhook.Claim, r webhook.ClaimRequest, taken, early map[string]int) {
	d := x.m.delivery(c.DeliveryID)
	x.NotNil(d, "claimed %s, which is not there", c.DeliveryID)
	taken[d.endpoint.ID]++
	x.LessOrEqual(taken[d.endpoint.ID], x.allowed(d.endpoint, r), "too many of %s", x.names[d.endpoint.ID])
	if d.nextAt.After(x.now) {
		early[d.endpoint.ID]++
		x.LessOrEqual(early[d.endpoint.ID], r.Early[d.endpoint.ID], "too many of %s ahead of their time", x.names[d.endpoint.ID])
		x.True(x.m.mayGoEarly(d, x.now), "%s may not be claimed ahead of its time", x.names[d.id])
		return
	}
	next := x.m.next(d.endpoint, x.now)
	x.NotNil(next, "%s may not be claimed", x.names[d.id])
	if d.endpoint.Ordered {
		x.Equal(x.names[next.id], x.names[d.id], "%s is ordered", x.names[d.endpoint.ID])
	} else {
		x.Equal(next.nextAt, d.nextAt, "%s is overdue longer than %s", x.names[next.id], x.names[d.id])
	}
}

// complete checks that nothing was left that could have been taken, and what was said about the rest.
func (x *machine) complete(got webhook.ClaimResult, r webhook.ClaimRequest, taken map[string]int, claimed map[string]bool) {
	for _, e := range x.m.endpoints {
		if taken[e.ID] >= x.allowed(e, r) || e.State != webhook.EndpointEnabled {
			continue
		}
		next := x.m.next(e, x.now)
		if next != nil && len(got.Claims) < r.Limit {
			x.Fail(x.names[next.id] + " was left, although it was due")
		}
		if due := x.m.nextDue(e, claimed); !due.IsZero() {
			x.False(got.NextDue.IsZero(), "nothing is announced for %s", x.names[e.ID])
			x.False(got.NextDue.After(due), "%s is announced, but %s has something for %s", got.NextDue, x.names[e.ID], due)
		}
	}
}

func (x *machine) finishSome(rt *rapid.T) {
	if len(x.claims) == 0 {
		rt.Skip("nothing was claimed")
	}
	x.tick()
	b := webhook.Batch{Now: x.now}
	var used []*ticket
	for range number(rt, 1, 4, "outcomes") {
		// Mostly one of the latest, which are mostly open.
		at := len(x.claims) - 1 - number(rt, 0, min(len(x.claims)-1, 12), "claim")
		c := x.claims[at]
		if slices.Contains(used, c) {
			continue
		}
		used = append(used, c)
		if c.outcome == nil && (c.returned || chance(rt, 5, "return")) {
			c.returned = true
			b.Returned = append(b.Returned, webhook.Return{DeliveryID: c.DeliveryID, Lease: c.Lease})
			x.step(rt, "return %s, lease %d", c.DeliveryID, c.Lease)
			continue
		}
		if c.outcome == nil {
			o := x.drawOutcome(rt, c.Claim)
			c.outcome = &o
		}
		b.Outcomes = append(b.Outcomes, *c.outcome)
		x.step(rt, "finish %s, lease %d: %s", c.DeliveryID, c.Lease, describe(*c.outcome))
	}
	x.commitOutcomes(rt, b)
}

func describe(o webhook.Outcome) string {
	if o.Attempt == nil {
		return "no attempt, " + string(o.State)
	}
	return string(o.Attempt.Status) + ", " + string(o.State)
}

func (x *machine) drawOutcome(rt *rapid.T, c webhook.Claim) webhook.Outcome {
	switch oneOf(rt, "outcome", "success", "success", "failure", "failure", "exhausted", "gone", "interrupted", "deferred", "expired") {
	case "success":
		return x.outcome(c, 200)
	case "failure":
		return x.outcome(c, oneOf(rt, "code", 0, 500))
	case "exhausted":
		return x.ended(c, 500, webhook.StateExhausted)
	case "gone":
		return x.ended(c, 410, webhook.StateGone)
	case "interrupted":
		o := x.outcome(c, 0)
		o.Attempt.Status, o.Attempt.ErrorCode = webhook.AttemptInterrupted, webhook.CodeNetworkRequestCanceled
		o.Failed, o.Uncharged = c.Failed, c.Uncharged+1
		return o
	case "deferred":
		return webhook.Outcome{
			DeliveryID: c.DeliveryID, Lease: c.Lease, State: webhook.StateScheduled, NextAt: x.now.Add(time.Second),
			Failed: c.Failed, Uncharged: c.Uncharged, Deferrals: c.Deferrals + 1,
		}
	default:
		return webhook.Outcome{
			DeliveryID: c.DeliveryID, Lease: c.Lease, State: webhook.StateExpired, Failed: c.Failed, Uncharged: c.Uncharged,
			Deferrals: c.Deferrals, FailureCode: webhook.CodeCancelledPastRetention,
		}
	}
}

func (x *machine) commitOutcomes(rt *rapid.T, b webhook.Batch) {
	got := x.commit(b)
	forgotten := make([]bool, len(b.Outcomes))
	for i, o := range b.Outcomes {
		// The answer to a wait that is repeated after the next claim need not be remembered.
		d := x.m.delivery(o.DeliveryID)
		exact := o.Attempt != nil || d == nil || d.lease == o.Lease
		forgotten[i] = !exact
		if applied := x.m.outcome(o, x.now); exact {
			x.Equal(applied, got.Outcomes[i].Applied, "%s, lease %d, applied", x.names[o.DeliveryID], o.Lease)
		}
		x.False(got.Outcomes[i].Taken)
	}
	for _, r := range b.Returned {
		x.m.giveBack(r)
	}
	for i, o := range b.Outcomes {
		if d := x.m.delivery(o.DeliveryID); d != nil {
			x.sameHealth(d.endpoint, got.Outcomes[i].Health)
		}
	}
	if chance(rt, 4, "repeat") {
		again := x.commit(b)
		for i, may := range forgotten {
			if may {
				again.Outcomes[i].Applied = got.Outcomes[i].Applied
			}
		}
		x.Equal(got, again, "the same batch again")
	}
}

func (x *machine) requeueSome(rt *rapid.T) {
	if len(x.m.deliveries) == 0 {
		rt.Skip("no deliveries")
	}
	x.tick()
	r := webhook.RequeueRequest{Now: x.now, Action: webhook.RequeueRetry, Trigger: webhook.TriggerManual}
	switch oneOf(rt, "action", "retry", "bulk", "cancel", "cancel bulk") {
	case "cancel bulk":
		r.Action, r.Code, r.BulkRetryID = webhook.RequeueCancel, webhook.CodeBulkRetryCancelled, "br_01jv8m7qfj6xj9gkz7a4s2h8ey"
	case "bulk":
		r.Trigger, r.BulkRetryID = webhook.TriggerBulkRetry, "br_01jv8m7qfj6xj9gkz7a4s2h8ey"
	case "cancel":
		r.Action, r.Code = webhook.RequeueCancel, webhook.CodeCancelled
	}
	for range number(rt, 1, 3, "deliveries") {
		r.IDs = append(r.IDs, oneOf(rt, "delivery", x.m.deliveries...).id)
	}
	got := x.requeue(r)
	for i, deliveryID := range r.IDs {
		right := x.m.requeue(deliveryID, r)
		x.step(rt, "requeue %s, cancel %v: %d", deliveryID, r.Action == webhook.RequeueCancel, got[i])
		x.Contains(right, got[i], "requeue of %s", x.names[deliveryID])
	}
}

func (x *machine) pruneRound(rt *rapid.T) {
	x.tick()
	before := func(label string) time.Time {
		if chance(rt, 2, "no "+label) {
			return time.Time{}
		}
		return x.now.Add(-oneOf(rt, label, 0, 10*time.Second, 2*time.Minute))
	}
	r := webhook.PruneRequest{Now: x.now, DetailBefore: before("details"), FinishedBefore: before("finished"), Limit: number(rt, 1, 5, "limit")}
	x.step(rt, "prune finished before %s, details before %s", r.FinishedBefore.Sub(start), r.DetailBefore.Sub(start))
	got := x.prune(r)
	want := x.m.prune(r, func(d *modelDelivery) webhook.DeliveryState { return x.state(d.id) })
	got.Details = 0 // whether those of rows that went as well are counted is the store's choice
	x.Equal(want, got)
	if r.FinishedBefore.After(x.pruned) {
		x.pruned = r.FinishedBefore
	}
}

func (x *machine) eraseEvent(rt *rapid.T) {
	if len(x.m.events) == 0 || !chance(rt, 2, "really") {
		rt.Skip("nothing to erase")
	}
	x.tick()
	e := oneOf(rt, "event", x.m.events...)
	x.step(rt, "erase %s", e.ID)
	x.Equal(x.m.eraseEvent(e, x.now), x.erase(webhook.EraseRequest{EventID: e.ID}))
}

func (x *machine) eraseTenant(rt *rapid.T) {
	if !chance(rt, 6, "really") {
		rt.Skip("not this time")
	}
	x.tick()
	tenantID := oneOf(rt, "tenant", acme, "")
	x.step(rt, "erase tenant %q", tenantID)
	x.Equal(x.m.eraseTenant(tenantID), x.erase(webhook.EraseRequest{TenantID: tenantID, Limit: number(rt, 1, 5, "limit")}))
	generation := x.generation()
	x.GreaterOrEqual(generation, x.m.generation)
	x.m.generation = generation
	x.groups = slices.DeleteFunc(x.groups, func(g webhook.SendGroup) bool {
		return slices.ContainsFunc(g.Events, func(n webhook.NewEvent) bool { return n.Event.TenantID == tenantID })
	})
}
