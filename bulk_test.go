package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// fail sends n events whose one attempt fails.
func (b *bench) fail(n int, e webhook.Event) (deliveryIDs []string) {
	b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
	for range n {
		deliveryIDs = append(deliveryIDs, b.send(e).DeliveryIDs...)
	}
	require.NoError(b.t, b.Idle(b.t.Context()))
	synctest.Wait()
	b.client.Respond(nil)
	return deliveryIDs
}

func (b *bench) bulkRetry(q webhook.DeliveryQuery, opts webhook.BulkRetryOptions) webhook.BulkRetry {
	made, err := b.BulkRetry(b.t.Context(), q, opts)
	require.NoError(b.t, err)
	return made
}

func (b *bench) progress(bulkRetryID string) webhook.BulkRetry {
	synctest.Wait()
	got, err := b.GetBulkRetry(b.t.Context(), bulkRetryID)
	require.NoError(b.t, err)
	return got
}

func TestABulkRetryRetriesWhatFailedAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		ctx := t.Context()
		e := b.endpoint(webhook.Endpoint{TenantID: "acme", EventTypes: []string{"a"}})
		b.endpoint(webhook.Endpoint{TenantID: "acme", EventTypes: []string{"b"}, URL: "https://other.example/"})
		before := b.fail(5, webhook.Event{TenantID: "acme", Type: "a"})
		other := b.fail(3, webhook.Event{TenantID: "acme", Type: "b"})
		time.Sleep(time.Hour)
		since := time.Now()
		failed := b.fail(100, webhook.Event{TenantID: "acme", Type: "a"})
		done := b.send(webhook.Event{TenantID: "acme", Type: "a"}).DeliveryIDs[0]
		require.NoError(t, b.Idle(ctx))
		sent := b.client.Count()

		began := time.Now()
		made := b.bulkRetry(webhook.DeliveryQuery{TenantID: "acme", EndpointID: e.ID, FinishedSince: since}, webhook.BulkRetryOptions{Rate: 10})
		require.Regexp(t, `^br_[0-9a-z]{26}$`, made.ID)
		require.Equal(t, webhook.BulkRetryRunning, made.State)
		b.client.Script(500) // the first fails again, and must not be taken a second time
		for second := range 10 {
			time.Sleep(500 * time.Millisecond)
			p := b.progress(made.ID)
			require.EqualValues(t, 10*(second+1), p.Requeued, "after %v", time.Since(began))
			require.Equal(t, sent+10*(second+1), b.client.Count())
			require.Equal(t, webhook.BulkRetryRunning, p.State)
			time.Sleep(500 * time.Millisecond)
		}
		p := b.progress(made.ID)
		require.Equal(t, webhook.BulkRetryDone, p.State)
		require.Equal(t, []int64{100, 100, 0, 0}, []int64{p.Matched, p.Requeued, p.Skipped, p.Canceled})
		require.WithinDuration(t, began.Add(10*time.Second), *p.FinishedAt, time.Second)
		require.Equal(t, webhook.StatusFailed, p.Query.Status)
		again := 0
		for _, deliveryID := range failed {
			d := b.delivery(deliveryID)
			require.Len(t, d.Attempts, 2)
			require.Equal(t, webhook.TriggerBulkRetry, d.Attempts[1].Trigger)
			require.Equal(t, made.ID, d.Attempts[1].BulkRetryID)
			if d.State == webhook.StateExhausted {
				again++
			}
		}
		require.Equal(t, 1, again)
		for _, deliveryID := range append(append(before, other...), done) {
			require.Len(t, b.delivery(deliveryID).Attempts, 1)
		}
		list, err := b.ListBulkRetries(ctx, webhook.BulkRetryQuery{TenantID: "acme"})
		require.NoError(t, err)
		require.Equal(t, []webhook.BulkRetry{p}, list)
		list, err = b.ListBulkRetries(ctx, webhook.BulkRetryQuery{})
		require.NoError(t, err)
		require.Empty(t, list)
		text, err := json.Marshal(p)
		require.NoError(t, err)
		require.Contains(t, string(text), `"endpointId":"`+e.ID+`"`)
		require.NotContains(t, string(text), "cursor")
	})
}

func TestADryRunCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		b.endpoint(webhook.Endpoint{})
		b.fail(600, webhook.Event{})
		b.send(webhook.Event{})
		require.NoError(t, b.Idle(t.Context()))
		counted := b.bulkRetry(webhook.DeliveryQuery{AllTenants: true}, webhook.BulkRetryOptions{DryRun: true})
		require.EqualValues(t, 600, counted.Matched)
		require.True(t, counted.DryRun)
		require.Empty(t, counted.ID)
		require.Equal(t, webhook.BulkRetryDone, counted.State)
		time.Sleep(time.Minute)
		require.Equal(t, 601, b.client.Count())
		list, err := b.ListBulkRetries(t.Context(), webhook.BulkRetryQuery{AllTenants: true})
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

func TestWhatABulkRetryRefuses(t *testing.T) {
	b := prepare(t, webhook.Config{})
	for name, c := range map[string]struct {
		q    webhook.DeliveryQuery
		opts webhook.BulkRetryOptions
	}{
		"everything":      {},
		"only a type":     {q: webhook.DeliveryQuery{EventType: "a"}},
		"only a status":   {q: webhook.DeliveryQuery{Status: webhook.StatusFailed}},
		"a page":          {q: webhook.DeliveryQuery{TenantID: "a", Limit: 10}},
		"a page's start":  {q: webhook.DeliveryQuery{TenantID: "a", After: "wd_x"}},
		"a negative rate": {q: webhook.DeliveryQuery{TenantID: "a"}, opts: webhook.BulkRetryOptions{Rate: -1}},
		"no number":       {q: webhook.DeliveryQuery{TenantID: "a"}, opts: webhook.BulkRetryOptions{Rate: math.NaN()}},
		"no rate at all":  {q: webhook.DeliveryQuery{TenantID: "a"}, opts: webhook.BulkRetryOptions{Rate: math.SmallestNonzeroFloat64}},
		"infinite":        {q: webhook.DeliveryQuery{TenantID: "a"}, opts: webhook.BulkRetryOptions{Rate: math.Inf(1)}},
	} {
		for _, dry := range []bool{false, true} {
			c.opts.DryRun = dry
			_, err := b.BulkRetry(t.Context(), c.q, c.opts)
			require.ErrorIs(t, err, webhook.ErrInvalid, name)
		}
	}
	_, err := b.GetBulkRetry(t.Context(), "br_none")
	require.ErrorIs(t, err, webhook.ErrNotFound)
	require.ErrorIs(t, b.CancelBulkRetry(t.Context(), "br_none"), webhook.ErrNotFound)

	plain, err := webhook.New(struct{ webhook.Store }{b.store}, webhook.Config{HTTPClient: b.client})
	require.NoError(t, err)
	_, err = plain.BulkRetry(t.Context(), webhook.DeliveryQuery{TenantID: "a"}, webhook.BulkRetryOptions{})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "BulkStore")
}

func TestCancelingABulkRetryEndsWhatNobodyAttempted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		ctx := t.Context()
		e := b.endpoint(webhook.Endpoint{RateLimit: 1})
		failed := b.fail(40, webhook.Event{})
		time.Sleep(time.Minute)
		sent := b.client.Count()
		pending := b.send(webhook.Event{DeliverAt: time.Now().Add(time.Hour)}).DeliveryIDs[0]
		made := b.bulkRetry(webhook.DeliveryQuery{EndpointID: e.ID}, webhook.BulkRetryOptions{Rate: 10})
		time.Sleep(2500 * time.Millisecond)
		require.NoError(t, b.CancelBulkRetry(ctx, made.ID))
		require.NoError(t, b.CancelBulkRetry(ctx, made.ID))
		time.Sleep(time.Minute)
		p := b.progress(made.ID)
		require.Equal(t, webhook.BulkRetryCanceled, p.State)
		require.EqualValues(t, 30, p.Requeued)
		require.NotNil(t, p.FinishedAt)
		require.NoError(t, b.CancelBulkRetry(ctx, made.ID))
		counts := map[webhook.ErrorCode]int{}
		for _, deliveryID := range failed {
			counts[b.delivery(deliveryID).FailureCode]++
		}
		attempted := b.client.Count() - sent
		require.Less(t, attempted, 10)
		require.EqualValues(t, counts[webhook.CodeBulkRetryCancelled], p.Canceled)
		require.GreaterOrEqual(t, p.Canceled, int64(30-attempted))
		require.Equal(t, 10, counts[webhook.CodeBadResponse], "what it had not come to yet")
		require.Equal(t, webhook.StateScheduled, b.delivery(pending).State)
	})
}

func TestCancelingLeavesAloneWhatWasPendingBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(24 * time.Hour)})
		e := b.endpoint(webhook.Endpoint{RateLimit: 1})
		waiting := b.fail(40, webhook.Event{})
		time.Sleep(time.Minute)
		made := b.bulkRetry(webhook.DeliveryQuery{EndpointID: e.ID, Status: webhook.StatusPending}, webhook.BulkRetryOptions{Rate: 10})
		time.Sleep(1500 * time.Millisecond)
		require.NoError(t, b.CancelBulkRetry(t.Context(), made.ID))
		require.Equal(t, webhook.BulkRetryCanceled, b.progress(made.ID).State)
		time.Sleep(time.Minute)
		soon := 0
		for _, deliveryID := range waiting {
			d := b.delivery(deliveryID)
			require.NotEqual(t, webhook.StateCanceled, d.State)
			if d.State == webhook.StateSucceeded {
				soon++
			}
		}
		require.GreaterOrEqual(t, soon, 20)
		b2 := b.bulkRetry(webhook.DeliveryQuery{EndpointID: e.ID}, webhook.BulkRetryOptions{})
		time.Sleep(10 * time.Second)
		err := b.CancelBulkRetry(t.Context(), b2.ID)
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.ErrorContains(t, err, "done")
	})
}

func TestABulkRetryGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		b.endpoint(webhook.Endpoint{TenantID: "acme"})
		b.fail(100, webhook.Event{TenantID: "acme"})
		made := b.bulkRetry(webhook.DeliveryQuery{TenantID: "acme"}, webhook.BulkRetryOptions{Rate: 10})
		time.Sleep(4500 * time.Millisecond)
		b.stop()
		require.EqualValues(t, 50, b.progress(made.ID).Requeued)
		time.Sleep(time.Hour)
		require.EqualValues(t, 50, b.progress(made.ID).Requeued)
		other, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client})
		require.NoError(t, err)
		b.Dispatcher = other // another process
		b.run()
		time.Sleep(6 * time.Second)
		p := b.progress(made.ID)
		require.Equal(t, webhook.BulkRetryDone, p.State)
		require.EqualValues(t, 100, p.Requeued)
		require.Equal(t, 200, b.client.Count())
	})
}

func TestOneProcessLeadsABulkRetryAndAnotherTakesOverFromTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		b.endpoint(webhook.Endpoint{TenantID: "acme"})
		b.fail(300, webhook.Event{TenantID: "acme"})
		other, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- other.Run(ctx) }()
		made := b.bulkRetry(webhook.DeliveryQuery{TenantID: "acme"}, webhook.BulkRetryOptions{Rate: 10})
		time.Sleep(9500 * time.Millisecond)
		require.EqualValues(t, 100, b.progress(made.ID).Requeued, "at its rate, however many run")
		// A process that has it and dies.
		_, err = b.store.UpdateBulkRetry(ctx, made.ID, func(row *webhook.BulkRetryRow) error {
			row.LeasedBy, row.LeaseUntil = "dead", time.Now().Add(time.Minute)
			return nil
		})
		require.NoError(t, err)
		time.Sleep(time.Minute - time.Second)
		stalled := b.progress(made.ID).Requeued
		require.LessOrEqual(t, stalled, int64(110))
		time.Sleep(30 * time.Second)
		p := b.progress(made.ID)
		require.Equal(t, webhook.BulkRetryDone, p.State)
		require.Equal(t, 600, b.client.Count(), "each delivery once more")
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestRunOnceLeadsBulkRetriesToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		b.endpoint(webhook.Endpoint{TenantID: "acme"})
		b.fail(250, webhook.Event{TenantID: "acme"})
		b.stop()
		made := b.bulkRetry(webhook.DeliveryQuery{TenantID: "acme"}, webhook.BulkRetryOptions{})
		began := time.Now()
		require.NoError(t, b.RunOnce(t.Context()))
		require.InDelta(t, 2.5, time.Since(began).Seconds(), 6)
		require.Equal(t, webhook.BulkRetryDone, b.progress(made.ID).State)
		require.Equal(t, 500, b.client.Count())
	})
}

func TestABulkRetrySkipsWhatCannotBeRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		ctx := t.Context()
		b.endpoint(webhook.Endpoint{TenantID: "acme"})
		gone := b.endpoint(webhook.Endpoint{TenantID: "acme", URL: "https://gone.example/"})
		b.fail(10, webhook.Event{TenantID: "acme"})
		erased := b.fail(1, webhook.Event{TenantID: "acme"})
		require.NoError(t, b.EraseEvent(ctx, b.delivery(erased[0]).EventID))
		require.NoError(t, b.DeleteEndpoint(ctx, gone.ID))
		made := b.bulkRetry(webhook.DeliveryQuery{TenantID: "acme"}, webhook.BulkRetryOptions{})
		time.Sleep(10 * time.Second)
		p := b.progress(made.ID)
		require.Equal(t, []int64{22, 10, 12}, []int64{p.Matched, p.Requeued, p.Skipped})
		require.NoError(t, b.EraseTenant(ctx, "acme"))
		_, err := b.GetBulkRetry(ctx, made.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}
