package storetest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

// CheckInvariants looks through the public methods for what must hold in every store at every time, and
// changes nothing. Call it at the end of other tests.
func CheckInvariants(t require.TestingT, s webhook.Store) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	i := &inspection{Assertions: require.New(t), ctx: context.Background(), s: s, now: time.Now()}
	i.read()
	for n := range i.deliveries {
		i.delivery(&i.deliveries[n])
	}
	i.stats()
	i.claimable()
}

type inspection struct {
	*require.Assertions
	ctx        context.Context
	s          webhook.Store
	now        time.Time
	deliveries []webhook.DeliveryListItem
	attempts   map[string][]webhook.DeliveryAttempt // by delivery, by number
	endpoints  map[string]webhook.EndpointRow
	events     map[string]bool
}

func (i *inspection) read() {
	i.deliveries = everything(i, func(after string) ([]webhook.DeliveryListItem, error) {
		return i.s.ListDeliveries(i.ctx, i.now, webhook.DeliveryQuery{AllTenants: true, After: after, Limit: 500})
	}, func(d webhook.DeliveryListItem) string { return d.ID })
	attempts := everything(i, func(after string) ([]webhook.DeliveryAttempt, error) {
		return i.s.ListAttempts(i.ctx, webhook.AttemptQuery{AllTenants: true, After: after, Limit: 500})
	}, func(a webhook.DeliveryAttempt) string { return a.ID })
	events := everything(i, func(after string) ([]webhook.Event, error) {
		return i.s.ListEvents(i.ctx, webhook.EventQuery{AllTenants: true, After: after, Limit: 500})
	}, func(e webhook.Event) string { return e.ID })

	i.attempts, i.events = map[string][]webhook.DeliveryAttempt{}, map[string]bool{}
	for _, a := range attempts {
		i.attempts[a.DeliveryID] = append(i.attempts[a.DeliveryID], a)
	}
	known := map[string]bool{}
	for _, d := range i.deliveries {
		known[d.ID] = true
		byNumber(i.attempts[d.ID])
	}
	for deliveryID := range i.attempts {
		i.True(known[deliveryID], "attempts of delivery %s, which is not listed", deliveryID)
	}
	for _, e := range events {
		i.events[e.ID] = true
	}
	i.readEndpoints()
}

func (i *inspection) readEndpoints() {
	i.endpoints = map[string]webhook.EndpointRow{}
	for after := int64(0); ; {
		rows, generation, err := i.s.SyncEndpoints(i.ctx, after, 100)
		i.NoError(err)
		if len(rows) == 0 {
			return
		}
		for _, row := range rows {
			i.Greater(row.Generation, after, "endpoints are not in the order of their generations")
			i.LessOrEqual(row.Generation, generation)
			after = row.Generation
			i.endpoints[row.ID] = row
		}
	}
}

// everything pages through a list and checks its order.
func everything[T any](i *inspection, list func(after string) ([]T, error), key func(T) string) (all []T) {
	for after := ""; ; {
		page, err := list(after)
		i.NoError(err)
		if len(page) == 0 {
			return all
		}
		for _, v := range page {
			if after != "" {
				i.Less(key(v), after, "a list is not newest first")
			}
			after = key(v)
		}
		all = append(all, page...)
	}
}

func (i *inspection) delivery(d *webhook.DeliveryListItem) {
	attempts := i.attempts[d.ID]
	i.Len(attempts, d.AttemptCount, "attempt rows of delivery %s", d.ID)
	succeeded := false
	for n, a := range attempts {
		i.Equal(n+1, a.AttemptNumber, "numbers of the attempts of delivery %s", d.ID)
		i.Equal([]string{d.TenantID, d.EventID, d.EventType, d.EndpointID},
			[]string{a.TenantID, a.EventID, a.EventType, a.EndpointID}, "attempt %s and its delivery", a.ID)
		succeeded = succeeded || a.Status == webhook.AttemptSucceeded
	}
	i.Equal(d.State.Status(), d.Status, "delivery %s", d.ID)
	i.Equal(d.Status == webhook.StatusPending, d.DueAt != nil, "DueAt of %s delivery %s", d.State, d.ID)
	i.Equal(d.State == webhook.StateHeld, d.HoldReason != "", "HoldReason of %s delivery %s", d.State, d.ID)
	i.True(d.Status == webhook.StatusFailed || d.FailureCode == "", "FailureCode of %s delivery %s", d.State, d.ID)
	i.True(d.State != webhook.StateSucceeded || succeeded, "delivery %s succeeded without an attempt that did", d.ID)
	i.True(i.events[d.EventID], "delivery %s has no event", d.ID)
	i.Contains(i.endpoints, d.EndpointID, "delivery %s has no endpoint", d.ID)
	i.lastAttempt(d, attempts)
}

func (i *inspection) lastAttempt(d *webhook.DeliveryListItem, attempts []webhook.DeliveryAttempt) {
	if len(attempts) == 0 {
		i.Nil(d.LastAttempt, "last attempt of delivery %s", d.ID)
		i.Empty(d.LastErrorCode)
		return
	}
	last := attempts[len(attempts)-1]
	i.NotNil(d.LastAttempt, "last attempt of delivery %s", d.ID)
	i.Equal(summary(last), *d.LastAttempt, "last attempt of delivery %s", d.ID)
	i.Equal(last.ErrorCode, d.LastErrorCode, "last error code of delivery %s", d.ID)
}

func summary(a webhook.DeliveryAttempt) webhook.LastAttempt {
	l := webhook.LastAttempt{AttemptedAt: a.StartedAt, ResponseStatus: a.StatusCode}
	if a.StatusCode == nil {
		l.ErrorMessage = &a.Error
	}
	return l
}

// stats holds the counters against the rows.
func (i *inspection) stats() {
	got, err := i.s.Stats(i.ctx, i.now, webhook.StatsQuery{AllTenants: true})
	i.NoError(err)
	states := map[webhook.DeliveryState]int64{}
	var pending, heldAtMost int64
	for _, d := range i.deliveries {
		states[d.State]++
		if d.Status == webhook.StatusPending {
			pending++
			if state := i.endpoints[d.EndpointID].State; state == webhook.EndpointPaused || state == webhook.EndpointDisabled {
				heldAtMost++
			}
		}
	}
	i.Equal(pending, got.Pending, "stats: pending")
	i.Equal(states[webhook.StateSucceeded], got.Succeeded, "stats: succeeded")
	i.Equal(states[webhook.StateExhausted], got.Exhausted, "stats: exhausted")
	i.Equal(states[webhook.StateGone], got.Gone, "stats: gone")
	i.Equal(states[webhook.StateCanceled], got.Canceled, "stats: canceled")
	i.Equal(states[webhook.StateExpired], got.Expired, "stats: expired")
	// A delivery under way on an endpoint that was paused meanwhile may count as held.
	i.GreaterOrEqual(got.Held, states[webhook.StateHeld], "stats: held")
	i.LessOrEqual(got.Held, heldAtMost, "stats: held")
}

// claimable checks that no pending delivery is out of Claim's sight: looking, it must announce one as
// early as the earliest that is free.
func (i *inspection) claimable() {
	look, err := i.s.Claim(i.ctx, webhook.ClaimRequest{Now: i.now, LeaseUntil: i.now.Add(time.Minute), PerEndpoint: 1})
	i.NoError(err)
	i.Empty(look.Claims)
	for _, d := range i.deliveries {
		e := i.endpoints[d.EndpointID]
		if d.Status != webhook.StatusPending || d.State == webhook.StateSending ||
			e.State != webhook.EndpointEnabled || e.Ordered { // an ordered one shows its first only
			continue
		}
		i.False(look.NextDue.IsZero(), "Claim does not see delivery %s, due %s", d.ID, d.DueAt)
		i.False(look.NextDue.After(*d.DueAt), "Claim announces %s, but delivery %s is due %s", look.NextDue, d.ID, d.DueAt)
	}
}

func byNumber(attempts []webhook.DeliveryAttempt) {
	slices.SortFunc(attempts, func(a, b webhook.DeliveryAttempt) int {
		return cmp.Compare(a.AttemptNumber, b.AttemptNumber)
	})
}
