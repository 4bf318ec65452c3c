package storetest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/outhook/webhook"
)

// compare holds all views against the model, after every step.
func (x *machine) compare(rt *rapid.T) {
	x.rt = rt
	x.sameDeliveries(webhook.DeliveryQuery{AllTenants: true, Limit: 500}, func(*modelDelivery) bool { return true })
	x.sameAttempts(webhook.AttemptQuery{AllTenants: true, Limit: 500}, func(*modelAttempt) bool { return true })
	x.sameEvents()
	for _, e := range x.m.endpoints {
		row, err := x.s.GetEndpoint(x.ctx, e.ID)
		if e.erased {
			continue
		}
		x.NoError(err)
		x.sameRow(e, row)
	}
	x.sameStats(webhook.StatsQuery{AllTenants: true}, func(*modelEndpoint) bool { return true })
	x.sameStats(webhook.StatsQuery{}, func(e *modelEndpoint) bool { return e.TenantID == "" })
	e := x.m.endpoints[0]
	x.sameStats(webhook.StatsQuery{TenantID: e.TenantID, EndpointID: e.ID}, func(other *modelEndpoint) bool { return other == e })
}

// newest sorts and cuts what the model has as a list would.
func newest[T any](all []T, key func(T) string, after string, limit int) []T {
	slices.SortFunc(all, func(a, b T) int { return -cmp.Compare(key(a), key(b)) })
	all = slices.DeleteFunc(all, func(v T) bool { return after != "" && key(v) >= after })
	return all[:min(limit, len(all))]
}

func (x *machine) sameDeliveries(q webhook.DeliveryQuery, matches func(*modelDelivery) bool) {
	got, err := x.s.ListDeliveries(x.ctx, x.now, q)
	x.NoError(err)
	var want []*modelDelivery
	for _, d := range x.m.deliveries {
		if matches(d) {
			want = append(want, d)
		}
	}
	want = newest(want, func(d *modelDelivery) string { return d.id }, q.After, q.Limit)
	x.Len(got, len(want), "deliveries for %+v", q)
	for i, d := range want {
		item := d.item(x.now)
		if d.returned {
			item.UpdatedAt = got[i].UpdatedAt
		}
		x.Equal(item, got[i], "%s is not as it should be", x.names[d.id])
	}
}

func (x *machine) sameAttempts(q webhook.AttemptQuery, matches func(*modelAttempt) bool) {
	got, err := x.s.ListAttempts(x.ctx, q)
	x.NoError(err)
	var want []*modelAttempt
	for _, d := range x.m.deliveries {
		for _, a := range d.attempts {
			if matches(a) {
				want = append(want, a)
			}
		}
	}
	want = newest(want, func(a *modelAttempt) string { return a.ID }, q.After, q.Limit)
	x.Len(got, len(want), "attempts for %+v", q)
	for i, a := range want {
		x.sameAttempt(a, got[i])
	}
}

func (d *modelDelivery) shown(now time.Time) webhook.DeliveryState {
	e := d.endpoint
	switch {
	case !d.pending:
		return d.state
	case d.leasedBy != "":
		return webhook.StateSending
	case e.State == webhook.EndpointPaused || e.State == webhook.EndpointDisabled:
		return webhook.StateHeld
	case d.dueAt.After(now):
		return webhook.StateScheduled
	}
	return webhook.StateQueued
}

func (d *modelDelivery) item(now time.Time) webhook.DeliveryListItem {
	item := webhook.DeliveryListItem{
		ID: d.id, TenantID: d.event.TenantID, EventID: d.event.ID, EventType: d.event.Type, EndpointID: d.endpoint.ID,
		State: d.shown(now), AttemptCount: len(d.attempts), DeferralCount: d.deferrals, FailureCode: d.failureCode,
		CreatedAt: d.createdAt, UpdatedAt: d.updatedAt, Attributes: d.event.Attributes,
	}
	item.Status = item.State.Status()
	if !d.event.ExpiresAt.IsZero() {
		item.ExpiresAt = &d.event.ExpiresAt
	}
	if n := len(d.attempts); n > 0 {
		last := summary(d.attempts[n-1].DeliveryAttempt)
		item.LastAttempt, item.LastErrorCode = &last, d.attempts[n-1].ErrorCode
	}
	if d.pending {
		item.DueAt = &d.dueAt
		if item.LastErrorCode != "" && item.State != webhook.StateHeld {
			item.NextRetryAt = &d.dueAt
		}
	}
	if item.State == webhook.StateHeld {
		item.HoldReason = strings.TrimSuffix(string(d.endpoint.State)+": "+d.endpoint.DisabledReason, ": ")
	}
	return item
}

// listSome asks for a random selection of deliveries.
func (x *machine) listSome(rt *rapid.T) {
	q := webhook.DeliveryQuery{
		TenantID: oneOf(rt, "tenant", acme, ""), AllTenants: chance(rt, 2, "all tenants"), Limit: number(rt, 1, 10, "limit"),
	}
	if chance(rt, 3, "by endpoint") {
		q.EndpointID = oneOf(rt, "endpoint", x.m.endpoints...).ID
	}
	if len(x.m.events) > 0 && chance(rt, 4, "by event") {
		q.EventID = oneOf(rt, "event", x.m.events...).ID
	}
	if len(x.m.deliveries) > 0 && chance(rt, 2, "further pages") {
		q.After = oneOf(rt, "after", x.m.deliveries...).id
	}
	q.EventType = oneOf(rt, "type", "", "", "order.paid")
	q.Status = oneOf(rt, "status", "", "", webhook.StatusPending, webhook.StatusFailed, webhook.StatusSuccess)
	q.States = oneOf(rt, "states", nil, nil, []webhook.DeliveryState{webhook.StateQueued, webhook.StateScheduled},
		[]webhook.DeliveryState{webhook.StateHeld}, []webhook.DeliveryState{webhook.StateSending, webhook.StateCanceled})
	q.ErrorCode = oneOf(rt, "code", "", "", "", webhook.CodeBadResponse, webhook.CodeCancelled)
	q.ResponseClass = oneOf(rt, "class", 0, 0, 0, 2, 5)
	q.Attributes = oneOf(rt, "attributes", nil, nil, map[string]string{"a": "1"})
	if chance(rt, 4, "since") {
		q.Since = x.now.Add(-time.Minute)
	}
	if chance(rt, 4, "finished since") {
		q.FinishedSince = x.now.Add(-time.Minute)
	}
	x.step(rt, "list %+v", q)
	x.sameDeliveries(q, func(d *modelDelivery) bool { return d.matches(q, x.now) })
}

func (d *modelDelivery) matches(q webhook.DeliveryQuery, now time.Time) bool {
	item := d.item(now)
	class := 0
	if item.LastAttempt != nil && item.LastAttempt.ResponseStatus != nil {
		class = *item.LastAttempt.ResponseStatus / 100
	}
	for k, v := range q.Attributes {
		if item.Attributes[k] != v {
			return false
		}
	}
	return (q.AllTenants || item.TenantID == q.TenantID) && (q.EndpointID == "" || item.EndpointID == q.EndpointID) &&
		(q.EventID == "" || item.EventID == q.EventID) && (q.EventType == "" || item.EventType == q.EventType) &&
		(q.Status == "" || item.Status == q.Status) && (q.States == nil || slices.Contains(q.States, item.State)) &&
		(q.ErrorCode == "" || item.LastErrorCode == q.ErrorCode || item.FailureCode == q.ErrorCode) &&
		(q.ResponseClass == 0 || class == q.ResponseClass) && (q.Since.IsZero() || !item.CreatedAt.Before(q.Since)) &&
		(q.FinishedSince.IsZero() || !d.pending && !d.endedAt.Before(q.FinishedSince))
}

// listAttempts asks for a random selection of attempts.
func (x *machine) listAttempts(rt *rapid.T) {
	q := webhook.AttemptQuery{
		TenantID: oneOf(rt, "tenant", acme, ""), AllTenants: chance(rt, 2, "all tenants"), Limit: number(rt, 1, 10, "limit"),
		Status:    oneOf(rt, "status", "", "", webhook.AttemptFailed, webhook.AttemptInterrupted),
		ErrorCode: oneOf(rt, "code", "", "", webhook.CodeBadResponse),
	}
	if chance(rt, 3, "by endpoint") {
		q.EndpointID = oneOf(rt, "endpoint", x.m.endpoints...).ID
	}
	if len(x.m.deliveries) > 0 && chance(rt, 3, "by delivery") {
		q.DeliveryID = oneOf(rt, "delivery", x.m.deliveries...).id
	}
	if len(x.m.events) > 0 && chance(rt, 4, "by event") {
		q.EventID = oneOf(rt, "event", x.m.events...).ID
	}
	x.step(rt, "list attempts %+v", q)
	x.sameAttempts(q, func(a *modelAttempt) bool {
		return (q.AllTenants || a.TenantID == q.TenantID) && (q.Status == "" || a.Status == q.Status) &&
			(q.ErrorCode == "" || a.ErrorCode == q.ErrorCode) && (q.EndpointID == "" || a.EndpointID == q.EndpointID) &&
			(q.DeliveryID == "" || a.DeliveryID == q.DeliveryID) && (q.EventID == "" || a.EventID == q.EventID)
	})
}

// sameAttempt compares all but the row's own times.
func (x *machine) sameAttempt(want *modelAttempt, got webhook.DeliveryAttempt) {
	a := want.DeliveryAttempt
	a.CreatedAt, a.UpdatedAt = got.CreatedAt, got.UpdatedAt
	x.Equal(a, got, "attempt %d of %s is not as it should be", a.AttemptNumber, x.names[a.DeliveryID])
	x.False(got.CreatedAt.IsZero())
	x.False(got.UpdatedAt.IsZero())
}

func (x *machine) sameEvents() {
	got, err := x.s.ListEvents(x.ctx, webhook.EventQuery{AllTenants: true, Limit: 500})
	x.NoError(err)
	want := newest(slices.Clone(x.m.events), func(e *modelEvent) string { return e.ID }, "", 500)
	x.Len(got, len(want), "events")
	for i, e := range want {
		ev := e.Event
		ev.Payload = nil
		x.Equal(ev, got[i], "%s is not as it should be", x.names[e.ID])
	}
}

func (x *machine) sameRow(want *modelEndpoint, got webhook.EndpointRow) {
	x.sameHealth(want, got.Health)
	row := want.EndpointRow
	row.Health = got.Health
	x.Equal(row, got, "%s is not as it should be", x.names[row.ID])
}

// sameHealth leaves a store some freedom as to which of an attempt's times is the last.
func (x *machine) sameHealth(e *modelEndpoint, got webhook.EndpointHealth) {
	want := e.Health
	x.WithinDuration(want.LastFailureAt, got.LastFailureAt, time.Second, "last failure of %s", x.names[e.ID])
	x.WithinDuration(want.LastSuccessAt, got.LastSuccessAt, time.Minute, "last success of %s", x.names[e.ID])
	want.LastFailureAt, want.LastSuccessAt = got.LastFailureAt, got.LastSuccessAt
	x.Equal(want, got, "health of %s", x.names[e.ID])
}

func (x *machine) sameStats(q webhook.StatsQuery, matches func(*modelEndpoint) bool) {
	q.Since = start.Truncate(time.Hour)
	got := x.world.stats(q)
	var want webhook.Stats
	var heldAtMost int64
	vague := false // which delivery waits longest depends on leases and order
	for _, d := range x.m.deliveries {
		if !matches(d.endpoint) {
			continue
		}
		state := d.shown(x.now)
		*counter(&want, state)++
		if state == webhook.StateHeld {
			want.Held++
		}
		if d.pending && (d.endpoint.State == webhook.EndpointPaused || d.endpoint.State == webhook.EndpointDisabled) {
			heldAtMost++
		}
		vague = vague || d.leasedBy != "" || d.endpoint.Ordered || d.endpoint.Deleted()
		if state == webhook.StateQueued && (want.OldestDueAt == nil || d.dueAt.Before(*want.OldestDueAt)) {
			want.OldestDueAt = &d.dueAt
		}
	}
	x.GreaterOrEqual(got.Held, want.Held, "held")
	x.LessOrEqual(got.Held, heldAtMost, "held")
	want.Held = got.Held
	if vague {
		want.OldestDueAt = got.OldestDueAt
	}
	want.Hours = x.kept(x.m.hours(matches))
	got.Hours = x.kept(got.Hours)
	x.Equal(want, got, "stats for %+v", q)
}

func counter(s *webhook.Stats, state webhook.DeliveryState) *int64 {
	switch state {
	case webhook.StateSucceeded:
		return &s.Succeeded
	case webhook.StateExhausted:
		return &s.Exhausted
	case webhook.StateGone:
		return &s.Gone
	case webhook.StateCanceled:
		return &s.Canceled
	case webhook.StateExpired:
		return &s.Expired
	}
	return &s.Pending
}

// kept leaves out hours that Prune may have dropped.
func (x *machine) kept(hours []webhook.HourStats) (out []webhook.HourStats) {
	for _, h := range hours {
		if !h.Start.Before(x.pruned.Truncate(time.Hour)) {
			out = append(out, h)
		}
	}
	return out
}

// hours counts the attempts by the hour they completed in.
func (m *model) hours(matches func(*modelEndpoint) bool) (out []webhook.HourStats) {
	for _, f := range m.finished {
		start := f.CompletedAt.Truncate(time.Hour)
		if !matches(f.endpoint) {
			continue
		}
		i := slices.IndexFunc(out, func(h webhook.HourStats) bool { return h.Start.Equal(start) })
		if i < 0 {
			i, out = len(out), append(out, webhook.HourStats{Start: start})
		}
		if f.Status == webhook.AttemptSucceeded {
			out[i].Succeeded++
		} else {
			out[i].Failed++
		}
		if f.StatusCode != nil {
			bucket := 0
			for bucket < len(webhook.LatencyBounds) && f.DurationMS > webhook.LatencyBounds[bucket] {
				bucket++
			}
			out[i].Latency[bucket]++
		}
	}
	slices.SortFunc(out, func(a, b webhook.HourStats) int { return a.Start.Compare(b.Start) })
	return out
}
