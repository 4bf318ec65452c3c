package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var endpointRules = []rule{
	{name: "keeps a row as it was given", check: func(w *world) {
		row := webhook.EndpointRow{
			ID: w.newID(id.Endpoint), TenantID: "", State: webhook.EndpointDisabled, DisabledReason: "410 \x00 é",
			URL: "https://example.com/?a=b", Ordered: true, Config: []byte{0, 255, 1}, CancelPending: webhook.CodeEndpointDisabled,
			ReleasedAt: w.now.Add(-time.Hour), CreatedAt: w.now, UpdatedAt: w.now,
			Health: webhook.EndpointHealth{
				FailingSince: w.now, Failures: 7, Exhausted: 3, LastFailureAt: w.now, LastSuccessAt: w.now.Truncate(time.Minute),
			},
		}
		before := w.generation()
		created, err := w.s.CreateEndpoint(w.ctx, row)
		w.NoError(err)
		w.Greater(created.Generation, before)
		row.Generation = created.Generation
		w.Equal(row, created)
		got, err := w.s.GetEndpoint(w.ctx, row.ID)
		w.NoError(err)
		w.Equal(row, got)
	}},
	{name: "refuses an ID twice", check: func(w *world) {
		e := w.endpoint()
		_, err := w.s.CreateEndpoint(w.ctx, webhook.EndpointRow{ID: e, TenantID: "other", State: webhook.EndpointEnabled, CreatedAt: w.now})
		w.Error(err)
		row, err := w.s.GetEndpoint(w.ctx, e)
		w.NoError(err)
		w.Equal(acme, row.TenantID)
	}},
	{name: "changes a row by a closure", check: func(w *world) {
		e := w.endpoint()
		before, err := w.s.GetEndpoint(w.ctx, e)
		w.NoError(err)
		w.pass(time.Second)
		row := w.update(e, func(row *webhook.EndpointRow) {
			w.Equal(before, *row)
			row.URL, row.Config, row.Ordered, row.UpdatedAt = "https://example.net", []byte("new"), true, w.now
			row.Health.Failures = 5
			row.ID, row.TenantID, row.CreatedAt = "we_x", "other", w.now
		})
		want := before
		want.URL, want.Config, want.Ordered, want.UpdatedAt = "https://example.net", []byte("new"), true, w.now
		want.Health.Failures = 5
		want.Generation = row.Generation
		w.Equal(want, row)
		w.Greater(row.Generation, before.Generation)
		got, err := w.s.GetEndpoint(w.ctx, e)
		w.NoError(err)
		w.Equal(want, got)
	}},
	{name: "returns the closure's error as it is and changes nothing", check: func(w *world) {
		e := w.endpoint()
		before, err := w.s.GetEndpoint(w.ctx, e)
		w.NoError(err)
		mine := errors.New("mine")
		_, err = w.s.UpdateEndpoint(w.ctx, e, func(row *webhook.EndpointRow) error {
			row.URL, row.Config[0] = "changed", 'X'
			return mine
		})
		w.True(err == mine, "%v", err) //nolint:errorlint // unwrapped, as it was returned
		got, err := w.s.GetEndpoint(w.ctx, e)
		w.NoError(err)
		w.Equal(before, got)
		w.Equal(before.Generation, w.generation())
	}},
	{name: "does not find what is not there", check: func(w *world) {
		unknown := w.newID(id.Endpoint)
		_, err := w.s.GetEndpoint(w.ctx, unknown)
		w.ErrorIs(err, webhook.ErrNotFound)
		_, err = w.s.UpdateEndpoint(w.ctx, unknown, func(*webhook.EndpointRow) error { return nil })
		w.ErrorIs(err, webhook.ErrNotFound)
	}},
	{name: "keeps a deleted row for history, and only for that", check: func(w *world) {
		e := w.endpoint()
		w.setState(e, webhook.EndpointDeleted)
		row, err := w.s.GetEndpoint(w.ctx, e)
		w.NoError(err)
		w.True(row.Deleted())
		rows, err := w.s.ListEndpoints(w.ctx, webhook.EndpointQuery{TenantID: acme})
		w.NoError(err)
		w.Empty(rows)
		_, err = w.s.UpdateEndpoint(w.ctx, e, func(*webhook.EndpointRow) error { return nil })
		w.ErrorIs(err, webhook.ErrNotFound)
	}},
	{name: "lists by tenant and state, newest first, in pages", check: func(w *world) {
		var all, paused []string
		for i := range 7 {
			e := w.endpoint()
			all = slices.Insert(all, 0, e)
			if i%2 == 0 {
				w.setState(e, webhook.EndpointPaused)
				paused = slices.Insert(paused, 0, e)
			}
		}
		other := w.endpoint(func(row *webhook.EndpointRow) { row.TenantID = "" })
		list := func(q webhook.EndpointQuery) (ids []string) {
			w.t.Helper()
			rows, err := w.s.ListEndpoints(w.ctx, q)
			w.NoError(err)
			for _, row := range rows {
				ids = append(ids, row.ID)
			}
			return ids
		}
		w.Equal(all, list(webhook.EndpointQuery{TenantID: acme}))
		w.Equal([]string{other}, list(webhook.EndpointQuery{}), "a forgotten tenant lists the tenant \"\"")
		w.Len(list(webhook.EndpointQuery{AllTenants: true}), 8)
		w.Equal(paused, list(webhook.EndpointQuery{TenantID: acme, States: []webhook.EndpointState{webhook.EndpointPaused}}))
		w.Equal(all, list(webhook.EndpointQuery{TenantID: acme, States: []webhook.EndpointState{
			webhook.EndpointPaused, webhook.EndpointEnabled,
		}}))
		w.Equal(all[:3], list(webhook.EndpointQuery{TenantID: acme, Limit: 3}))
		w.Equal(all[3:6], list(webhook.EndpointQuery{TenantID: acme, Limit: 3, After: all[2]}))
		w.Empty(list(webhook.EndpointQuery{TenantID: acme, After: all[6]}))
	}},
	{name: "tells others what changed, in the order of generations", check: func(w *world) {
		a, b, c := w.endpoint(), w.endpoint(), w.endpoint()
		w.setState(a, webhook.EndpointPaused)
		w.setState(b, webhook.EndpointDeleted)
		sync := func(after int64, limit int) (ids []string, last int64) {
			w.t.Helper()
			rows, generation, err := w.s.SyncEndpoints(w.ctx, after, limit)
			w.NoError(err)
			w.Equal(w.generation(), generation)
			last = after
			for _, row := range rows {
				w.Greater(row.Generation, last)
				last = row.Generation
				ids = append(ids, row.ID)
			}
			return ids, last
		}
		all, last := sync(0, 10)
		w.Equal([]string{c, a, b}, all)
		w.Equal(w.generation(), last)
		two, last := sync(0, 2)
		w.Equal([]string{c, a}, two)
		rest, last := sync(last, 2)
		w.Equal([]string{b}, rest)
		none, _ := sync(last, 2)
		w.Empty(none)
		w.setState(c, webhook.EndpointPaused)
		again, _ := sync(last, 2)
		w.Equal([]string{c}, again)
	}},
	{name: "writes no delivery to hold or release", check: func(w *world) {
		e := w.endpoint()
		deliveryID := w.send(e)
		before := w.get(deliveryID)
		w.pass(time.Second)
		w.update(e, func(row *webhook.EndpointRow) {
			row.State, row.DisabledReason = webhook.EndpointDisabled, "410 Gone"
		})
		held := w.get(deliveryID)
		w.Equal(webhook.StateHeld, held.State)
		w.Equal(webhook.StatusPending, held.Status)
		w.Equal("disabled: 410 Gone", held.HoldReason)
		w.Equal(before.UpdatedAt, held.UpdatedAt)
		w.setState(e, webhook.EndpointPaused)
		w.Equal("paused", w.get(deliveryID).HoldReason)
		w.setState(e, webhook.EndpointEnabled)
		w.Equal(before, w.get(deliveryID))
	}},
	{name: "does not keep what a caller changes afterwards", check: func(w *world) {
		config := []byte("config")
		row := webhook.EndpointRow{ID: w.newID(id.Endpoint), TenantID: acme, State: webhook.EndpointEnabled, Config: config, CreatedAt: w.now}
		created, err := w.s.CreateEndpoint(w.ctx, row)
		w.NoError(err)
		config[0], created.Config[1] = 'X', 'X'
		got, err := w.s.GetEndpoint(w.ctx, row.ID)
		w.NoError(err)
		w.Equal("config", string(got.Config))
		got.Config[2] = 'X'
		got, err = w.s.GetEndpoint(w.ctx, row.ID)
		w.NoError(err)
		w.Equal("config", string(got.Config))
	}},
}
