package webhook_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// TestAWeek lives through a week, and the days after it that the last retries take, with an event to 1,000
// endpoints (200 under the race detector) every three hours. Receivers have outages, short and long, answer 410, or
// never work; operators pause, disable, enable and delete endpoints and retry in bulk; retention takes rows. A plain
// model, below, says how each delivery must have ended.
func TestAWeek(t *testing.T) {
	endpoints := 1000
	if underRace {
		endpoints = 200
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWeek(t, endpoints)
		for w.hour = 0; w.hour < weekHours+settleHours; w.hour++ {
			w.operate()
			if w.hour < weekHours && w.hour%sendEvery == 0 {
				w.send()
			}
			time.Sleep(time.Until(w.at(w.hour + 1)))
		}
		require.NoError(t, w.Idle(t.Context()))
		synctest.Wait()
		w.check()
	})
}

const (
	weekHours, settleHours, sendEvery = 7 * 24, 80, 3

	fixedHour, bulkHour, deletedHour = 150, 130, 160
	retentionHours                   = 96
)

// fate is what happens to an endpoint: between the hours from and to, or from an hour on.
type fate struct {
	kind     string
	from, to int
	endpoint webhook.Endpoint
}

type weekDelivery struct {
	endpoint, hour int
}

type week struct {
	*bench
	hour  int
	began time.Time
	fates []*fate
	sent  map[string]weekDelivery
	ends  *endings
	bulks []string
	again int64 // deliveries retried in bulk
}

// endings keeps the last that was heard of each delivery, since retention takes rows.
type endings struct {
	mu   sync.Mutex
	last map[string]webhook.DeliveryState
	gone int
}

func (e *endings) Observe(_ context.Context, n webhook.Notice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n.Kind == webhook.NoticeAttempt {
		e.last[n.Delivery.ID] = n.Delivery.State
	}
	if n.Kind == webhook.NoticeEndpointDisabled {
		e.gone++
	}
}

// Waits without jitter, so that the model can say when a delivery is exhausted.
var weekWaits = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

func newWeek(t *testing.T, endpoints int) *week {
	w := &week{sent: map[string]weekDelivery{}, ends: &endings{last: map[string]webhook.DeliveryState{}}}
	w.bench = start(t, webhook.Config{
		Retry: webhook.Schedule(weekWaits...), PollInterval: time.Minute, Observer: w.ends, Logger: quiet(),
		DetailRetention: 24 * time.Hour, Retention: retentionHours * time.Hour,
	})
	w.client.Respond(w.answer)
	for n := range endpoints {
		f := &fate{kind: "well"}
		switch n % 20 {
		case 0:
			f.kind = "dead"
		case 1, 2:
			f.kind, f.from = "gone and fixed", 20+n%90
		case 3, 4:
			f.kind, f.from = "gone and deleted", 20+n%90
		case 5, 6:
			f.kind, f.from = "paused", n%100
			f.to = f.from + 1 + n%60
		case 7, 8:
			f.kind, f.from = "long outage", 10
			f.to = 90 + n%20
		case 9, 10, 11, 12:
			f.kind, f.from = "outage", n%130
			f.to = f.from + 1 + n%24
		case 13:
			f.kind, f.from = "ordered outage", n%100
			f.to = f.from + 1 + n%24
		case 15:
			f.kind, f.from = "disabled", n%100
			f.to = f.from + 1 + n%60
		case 16:
			f.kind, f.from = "paused", n%30
			f.to = f.from + retentionHours + 10 // what it holds outlives Retention
		}
		e := webhook.Endpoint{URL: fmt.Sprintf("https://r%d.example/", n), Ordered: f.kind == "ordered outage"}
		if n%20 == 14 {
			e.RateLimit = 0.5
		}
		f.endpoint = w.endpoint(e)
		w.fates = append(w.fates, f)
	}
	w.began = time.Now()
	return w
}

// answer is the receivers' part.
func (w *week) answer(r webhooktest.Request) webhooktest.Answer {
	var n int
	if _, err := fmt.Sscanf(r.URL, "https://r%d.example/", &n); err != nil {
		return webhooktest.Answer{Status: 404}
	}
	f := w.fates[n]
	since := time.Since(w.began)
	from, to := time.Duration(f.from)*time.Hour, time.Duration(f.to)*time.Hour
	switch {
	case f.kind == "dead", strings.HasSuffix(f.kind, "outage") && since >= from && since < to:
		return webhooktest.Answer{Status: 500, Body: "out of order"}
	case strings.HasPrefix(f.kind, "gone") && since >= from && since < fixedHour*time.Hour:
		return webhooktest.Answer{Status: 410}
	}
	return webhooktest.Answer{Body: "thanks"}
}

// operate is the operators' part, once an hour.
func (w *week) operate() {
	ctx := w.t.Context()
	if w.hour == bulkHour+1 {
		for _, id := range w.bulks {
			b, err := w.GetBulkRetry(ctx, id)
			require.NoError(w.t, err)
			require.Equal(w.t, webhook.BulkRetryDone, b.State)
			w.again += b.Requeued
		}
	}
	for _, f := range w.fates {
		id := f.endpoint.ID
		switch {
		case f.kind == "paused" && w.hour == f.from:
			require.NoError(w.t, w.PauseEndpoint(ctx, id))
		case f.kind == "paused" && w.hour == f.to:
			require.NoError(w.t, w.UnpauseEndpoint(ctx, id))
		case f.kind == "disabled" && w.hour == f.from:
			require.NoError(w.t, w.DisableEndpoint(ctx, id, "did not pay"))
		case f.kind == "gone and fixed" && w.hour == fixedHour, f.kind == "disabled" && w.hour == f.to:
			require.NoError(w.t, w.EnableEndpoint(ctx, id))
		case f.kind == "long outage" && w.hour == bulkHour:
			made, err := w.BulkRetry(ctx, webhook.DeliveryQuery{EndpointID: id, FinishedSince: w.at(f.from)}, webhook.BulkRetryOptions{})
			require.NoError(w.t, err)
			w.bulks = append(w.bulks, made.ID)
		case (f.kind == "dead" || f.kind == "gone and deleted") && w.hour == deletedHour:
			require.NoError(w.t, w.DeleteEndpoint(ctx, id))
		}
	}
}

func (w *week) at(hour int) time.Time { return w.began.Add(time.Duration(hour) * time.Hour) }

func (w *week) send() {
	r := w.bench.send(webhook.Event{})
	n := 0
	for i, f := range w.fates { // deliveries come in the order of their endpoints' IDs
		if deleted := f.kind == "dead" || f.kind == "gone and deleted"; !deleted || w.hour < deletedHour {
			w.sent[r.DeliveryIDs[n]] = weekDelivery{i, w.hour}
			n++
		}
	}
	require.Len(w.t, r.DeliveryIDs, n)
}

// predict is the model: how a delivery sent at an hour ends.
func (f *fate) predict(hour int) (end webhook.DeliveryState, retriedInBulk bool) {
	var span time.Duration
	for _, wait := range weekWaits {
		span += wait
	}
	sent := time.Duration(hour) * time.Hour
	switch f.kind {
	case "dead":
		// From the first event on nothing but failures: disabled after 5 days, and what is left is held
		// until the endpoint is deleted.
		if sent+span < 5*24*time.Hour {
			return webhook.StateExhausted, false
		}
		return webhook.StateCanceled, false
	case "gone and fixed", "gone and deleted":
		first := (f.from + sendEvery - 1) / sendEvery * sendEvery
		switch {
		case hour == first:
			return webhook.StateGone, false
		case hour > first && f.kind == "gone and deleted":
			return webhook.StateCanceled, false
		}
	case "long outage":
		to := time.Duration(f.to) * time.Hour
		return webhook.StateSucceeded, hour >= f.from && sent+span < to
	}
	return webhook.StateSucceeded, false
}

func (w *week) check() {
	rows := map[string]webhook.DeliveryListItem{}
	for item, err := range w.Deliveries(w.t.Context(), webhook.DeliveryQuery{Limit: 500}) {
		require.NoError(w.t, err)
		rows[item.ID] = item
	}
	ends, bulk, pruned := map[webhook.DeliveryState]int{}, 0, 0
	for id, d := range w.sent {
		f := w.fates[d.endpoint]
		want, retried := f.predict(d.hour)
		row, there := rows[id]
		got := row.State
		if !there {
			got = w.ends.last[id]
			pruned++
		}
		require.Equal(w.t, want, got, "%s [%d, %d), sent at hour %d, found %v", f.kind, f.from, f.to, d.hour, there)
		ends[got]++
		if retried {
			bulk++
		}
		if there {
			require.True(w.t, row.UpdatedAt.After(w.at(weekHours+settleHours-retentionHours-2)), "retention is late")
		}
	}
	w.t.Log(ends, "bulk", bulk, "pruned", pruned)
	require.Empty(w.t, leftOut(rows, w.sent))
	require.Greater(w.t, pruned, len(w.sent)/2)
	require.NotZero(w.t, bulk)
	require.EqualValues(w.t, bulk, w.again)
	require.Equal(w.t, 6*len(w.fates)/20, w.ends.gone, "of each 20 four by 410, one after five days, one by operators")
	stats, err := w.Stats(w.t.Context(), webhook.StatsQuery{})
	require.NoError(w.t, err)
	require.Zero(w.t, stats.Pending)
}

func leftOut(rows map[string]webhook.DeliveryListItem, sent map[string]weekDelivery) (ids []string) {
	for id := range rows {
		if _, known := sent[id]; !known {
			ids = append(ids, id)
		}
	}
	return ids
}
