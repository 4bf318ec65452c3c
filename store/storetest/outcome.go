package storetest

import (
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var outcomeRules = []rule{
	{name: "keeps an attempt as it was given", check: func(w *world) {
		w.send(w.endpoint())
		c := w.claimOne()
		o := w.outcome(c, 500)
		retryAfter := int64(1500)
		o.Attempt.Timings = &webhook.Timings{DNSMS: 0.25, ConnectMS: 1.5, TLSMS: 3, TTFBMS: 12.125}
		o.Attempt.RetryAfterMS, o.Attempt.Resends, o.Attempt.ResponseBodyTruncated = &retryAfter, 1, true
		o.Attempt.ResponseHeaders["Odd"] = "\u202e '\" é"
		w.apply(o)
		w.Equal([]webhook.DeliveryAttempt{*o.Attempt}, w.attempts(c.DeliveryID))
	}},
	{name: "tells absent, empty and pruned apart in an attempt", check: func(w *world) {
		w.send(w.endpoint())
		c := w.claimOne()
		o := w.outcome(c, 204)
		empty := ""
		o.Attempt.ResponseBodyPreview, o.Attempt.ResponseHeaders = &empty, map[string]string{}
		w.apply(o)
		got := w.attempts(c.DeliveryID)[0]
		w.NotNil(got.ResponseBodyPreview)
		w.Empty(*got.ResponseBodyPreview)
		w.NotNil(got.ResponseHeaders)
		w.Nil(got.DetailPrunedAt)
		w.Nil(got.Timings)
		w.Nil(got.RetryAfterMS)
		w.Nil(got.NextAttemptAt)

		w.send(w.endpoint())
		c = w.claimOne()
		w.apply(w.outcome(c, 0))
		got = w.attempts(c.DeliveryID)[0]
		w.Nil(got.StatusCode)
		w.Nil(got.ResponseHeaders)
		w.Nil(got.ResponseBodyPreview)
		w.Nil(got.RespondedAt)
		w.Nil(got.DeliveredAt)
	}},
	{name: "ends a delivery that succeeded", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		w.pass(time.Second)
		w.apply(w.outcome(c, 200))
		item := w.get(deliveryID)
		w.Equal(webhook.StateSucceeded, item.State)
		w.Equal(webhook.StatusSuccess, item.Status)
		w.Nil(item.DueAt)
		w.Nil(item.NextRetryAt)
		w.Equal(1, item.AttemptCount)
		w.Equal(w.now, item.UpdatedAt)
		w.Equal(200, *item.LastAttempt.ResponseStatus)
		w.Nil(item.LastAttempt.ErrorMessage)
		w.pass(24 * time.Hour)
		w.claimNone()
	}},
	{name: "schedules a delivery that failed", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		o := w.outcome(c, 0)
		o.Deferrals = 2
		w.apply(o)
		item := w.get(deliveryID)
		w.Equal(webhook.StateScheduled, item.State)
		w.Equal(o.NextAt, *item.DueAt)
		w.Equal(o.NextAt, *item.NextRetryAt)
		w.Equal(2, item.DeferralCount)
		w.Equal(webhook.CodeConnectionRefused, item.LastErrorCode)
		w.Nil(item.LastAttempt.ResponseStatus)
		w.Equal("connection refused", *item.LastAttempt.ErrorMessage)
		w.claimNone()
		w.pass(time.Minute)
		w.Equal(webhook.StateQueued, w.state(deliveryID))
		next := w.claimOne()
		w.EqualValues(2, next.Lease)
		w.Equal([]int{2, 1, 0, 2}, []int{next.AttemptNumber, next.Failed, next.Uncharged, next.Deferrals})
		w.Equal(webhook.TriggerAutomatic, next.Trigger)
		w.Equal(o.NextAt, *w.get(deliveryID).NextRetryAt, "while a retry is under way: when it was due")
	}},
	{name: "keeps each final state and its code", check: func(w *world) {
		for _, state := range []webhook.DeliveryState{
			webhook.StateExhausted, webhook.StateGone, webhook.StateCanceled, webhook.StateExpired,
		} {
			deliveryID := w.send(w.endpoint())
			w.apply(w.ended(w.claimOne(), 500, state))
			item := w.get(deliveryID)
			w.Equal(state, item.State)
			w.Equal(webhook.StatusFailed, item.Status)
			w.Equal(webhook.CodeBadResponse, item.FailureCode)
			w.Nil(item.DueAt)
		}
		w.pass(24 * time.Hour)
		w.claimNone()
	}},
	{name: "defers without an attempt", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		o := webhook.Outcome{
			DeliveryID: deliveryID, Lease: c.Lease, State: webhook.StateScheduled,
			NextAt: w.now.Add(time.Second), Deferrals: 1,
		}
		w.apply(o)
		w.True(w.finish(o)[0].Applied, "repeated")
		item := w.get(deliveryID)
		w.Equal([]int{0, 1}, []int{item.AttemptCount, item.DeferralCount})
		w.Equal(o.NextAt, *item.DueAt)
		w.Nil(item.NextRetryAt, "nothing failed yet")
		w.pass(time.Second)
		next := w.claimOne()
		w.Equal(1, next.AttemptNumber)
		w.Equal(webhook.TriggerInitial, next.Trigger)
		w.EqualValues(2, next.Lease)
	}},
	{name: "defers a retry under the trigger and from the time that it had", check: func(w *world) {
		e := w.endpoint()
		deliveryID := w.send(e)
		w.apply(w.outcome(w.claimOne(), 500))
		w.requeue(webhook.RequeueRequest{
			IDs: []string{deliveryID}, Action: webhook.RequeueRetry, Trigger: webhook.TriggerBulkRetry, BulkRetryID: "br_1",
		})
		due := w.now
		w.pass(time.Second)
		later := w.send(e)
		claims := w.claim(10)
		w.Len(claims, 2)
		for _, c := range claims {
			w.apply(webhook.Outcome{
				DeliveryID: c.DeliveryID, Lease: c.Lease, State: webhook.StateScheduled,
				NextAt: c.DueAt, Failed: c.Failed, Uncharged: c.Uncharged, Deferrals: c.Deferrals + 1,
			})
		}
		w.pass(time.Second)
		again := w.claimAs(w.request(10))
		w.Empty(again.Interrupted, "a wait is no attempt")
		w.Equal([]string{deliveryID, later}, []string{again.Claims[0].DeliveryID, again.Claims[1].DeliveryID})
		c := again.Claims[0]
		w.Equal([]int{2, 1, 0, 1}, []int{c.AttemptNumber, c.Failed, c.Uncharged, c.Deferrals})
		w.Equal(webhook.TriggerBulkRetry, c.Trigger)
		w.Equal("br_1", c.BulkRetryID)
		w.Equal(due, c.DueAt)
		w.Len(w.attempts(deliveryID), 1)
	}},
	{name: "ends without an attempt", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		w.apply(webhook.Outcome{
			DeliveryID: deliveryID, Lease: c.Lease, State: webhook.StateExpired,
			FailureCode: webhook.CodeCancelledPastRetention,
		})
		item := w.get(deliveryID)
		w.Equal(webhook.StateExpired, item.State)
		w.Equal(webhook.CodeCancelledPastRetention, item.FailureCode)
		w.Empty(w.attempts(deliveryID))
	}},
	{name: "answers a repeated outcome as the first time and changes nothing", check: func(w *world) {
		e := w.endpoint()
		deliveryID := w.send(e)
		c := w.claimOne()
		o := w.outcome(c, 500)
		first := w.apply(o)
		before, attempts := w.get(deliveryID), w.attempts(deliveryID)
		stats := w.stats(webhook.StatsQuery{TenantID: acme})
		w.Equal(first, w.finish(o)[0])
		w.Equal(before, w.get(deliveryID))
		w.Equal(attempts, w.attempts(deliveryID))
		w.Equal(stats, w.stats(webhook.StatsQuery{TenantID: acme}))
		w.EqualValues(1, w.health(e).Failures)
		// Also when the delivery went on meanwhile.
		w.pass(time.Minute)
		next := w.claimOne()
		w.True(w.finish(o)[0].Applied)
		w.Equal(webhook.StateSending, w.state(deliveryID))
		w.apply(w.outcome(next, 200))
		w.True(w.finish(o)[0].Applied)
		w.Equal(webhook.StateSucceeded, w.state(deliveryID))
		w.Len(w.attempts(deliveryID), 2)
	}},
	{name: "records a late failure in place of the interruption, and no more", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		late := w.claimOne()
		w.pass(leaseTime)
		next := w.claimOne()
		w.Len(w.attempts(deliveryID), 1)
		o := w.ended(late, 500, webhook.StateExhausted)
		w.False(w.finish(o)[0].Applied)
		w.False(w.finish(o)[0].Applied, "repeated")
		got := w.attempts(deliveryID)
		w.Len(got, 1)
		w.Equal(webhook.AttemptFailed, got[0].Status)
		w.Equal(o.Attempt.ID, got[0].ID)
		w.Equal(1, got[0].AttemptNumber)
		item := w.get(deliveryID)
		w.Equal(webhook.StateSending, item.State, "the live lease stands")
		w.Equal(webhook.CodeBadResponse, item.LastErrorCode)
		w.apply(w.outcome(next, 500))
		w.Equal(2, w.get(deliveryID).AttemptCount)
		w.Equal(webhook.StateScheduled, w.state(deliveryID))
	}},
	{name: "lets a late success win", check: func(w *world) {
		e := w.endpoint()
		deliveryID := w.send(e)
		late := w.claimOne()
		w.pass(leaseTime)
		next := w.claimOne()
		w.apply(w.outcome(late, 200))
		w.Equal(webhook.StateSucceeded, w.state(deliveryID))
		w.False(w.finish(w.outcome(next, 500))[0].Applied, "a success is absorbing")
		item := w.get(deliveryID)
		w.Equal(webhook.StateSucceeded, item.State)
		w.Equal(2, item.AttemptCount)
		w.Equal(500, *item.LastAttempt.ResponseStatus, "the last attempt is the one with the highest number")
		w.pass(24 * time.Hour)
		w.claimNone()
	}},
	{name: "lets a late success win over every final state", check: func(w *world) {
		for _, state := range []webhook.DeliveryState{
			webhook.StateExhausted, webhook.StateGone, webhook.StateCanceled, webhook.StateExpired, webhook.StateSucceeded,
		} {
			deliveryID := w.send(w.endpoint())
			late := w.claimOne()
			w.pass(leaseTime)
			o := w.ended(w.claimOne(), 500, state)
			if state == webhook.StateSucceeded {
				o.Attempt.Status, o.Attempt.ErrorCode, o.FailureCode = webhook.AttemptSucceeded, "", ""
				code := 201
				o.Attempt.StatusCode = &code
			}
			w.apply(o)
			w.apply(w.outcome(late, 200))
			item := w.get(deliveryID)
			w.Equal(webhook.StateSucceeded, item.State)
			w.Empty(item.FailureCode)
			w.Equal(2, item.AttemptCount)
		}
	}},
	{name: "keeps the time of the first success", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		late := w.claimOne()
		w.pass(leaseTime)
		w.apply(w.outcome(w.claimOne(), 200))
		w.pass(time.Second)
		w.apply(w.outcome(late, 200))
		w.Empty(w.list(webhook.DeliveryQuery{TenantID: acme, FinishedSince: w.now}))
		w.Equal(w.now, w.get(deliveryID).UpdatedAt)
	}},
	{name: "accepts a result after the lease's end while nobody else claimed", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		w.pass(2 * leaseTime)
		w.apply(w.outcome(c, 500))
		w.Equal(webhook.StateScheduled, w.state(deliveryID))
		w.Len(w.attempts(deliveryID), 1)
	}},
	{name: "records a result after cancel without applying it", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		w.Equal(webhook.RequeueDone, w.cancel(deliveryID))
		w.Equal(webhook.StateCanceled, w.state(deliveryID))
		w.Equal(webhook.RequeueLeased, w.retry(deliveryID), "the attempt is still under way")
		w.False(w.finish(w.outcome(c, 500))[0].Applied)
		item := w.get(deliveryID)
		w.Equal(webhook.StateCanceled, item.State)
		w.Equal(webhook.CodeCancelled, item.FailureCode)
		w.Equal(1, item.AttemptCount)
		w.Equal(webhook.RequeueDone, w.retry(deliveryID), "the attempt is over")
		next := w.claimOne()
		w.Equal(2, next.AttemptNumber)
		w.Equal(webhook.TriggerManual, next.Trigger)
	}},
	{name: "lets a success after cancel win", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		w.cancel(deliveryID)
		w.apply(w.outcome(c, 200))
		item := w.get(deliveryID)
		w.Equal(webhook.StateSucceeded, item.State)
		w.Empty(item.FailureCode)
	}},
	{name: "leaves no hole in the numbers when a canceled attempt ends after a retry began", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		lost := w.claimOne()
		w.cancel(deliveryID)
		w.pass(leaseTime)
		w.Equal(webhook.RequeueDone, w.retry(deliveryID))
		c := w.claimOne()
		w.False(w.finish(w.outcome(lost, 500))[0].Applied)
		w.apply(w.outcome(c, 500))
		w.Len(w.attempts(deliveryID), 2)
		w.Equal(2, w.get(deliveryID).AttemptCount)
	}},
	{name: "takes a claim back untried", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.pass(time.Second)
		c := w.claimOne()
		ret := webhook.Batch{Returned: []webhook.Return{{DeliveryID: deliveryID, Lease: c.Lease}}}
		w.commit(ret)
		w.commit(ret)
		item := w.get(deliveryID)
		w.Equal(webhook.StateQueued, item.State)
		w.Equal(start, *item.DueAt)
		w.Zero(item.AttemptCount)
		again := w.claimAs(w.request(1))
		w.Empty(again.Interrupted)
		w.EqualValues(2, again.Claims[0].Lease)
		w.Equal(webhook.TriggerInitial, again.Claims[0].Trigger)
		w.Equal([]int{1, 0, 0}, []int{again.Claims[0].AttemptNumber, again.Claims[0].Failed, again.Claims[0].Uncharged})
		w.commit(ret)
		w.Equal(webhook.StateSending, w.state(deliveryID), "a stale return frees nothing")
	}},
	{name: "takes back a claim of a retry with its trigger and time", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.apply(w.outcome(w.claimOne(), 500))
		w.Equal(webhook.RequeueDone, w.requeue(webhook.RequeueRequest{
			IDs: []string{deliveryID}, Action: webhook.RequeueRetry, Trigger: webhook.TriggerBulkRetry, BulkRetryID: "br_1",
		})[0])
		due := w.now
		w.pass(time.Second)
		c := w.claimOne()
		w.Equal("br_1", c.BulkRetryID)
		w.commit(webhook.Batch{Returned: []webhook.Return{{DeliveryID: deliveryID, Lease: c.Lease}}})
		c = w.claimOne()
		w.Equal(webhook.TriggerBulkRetry, c.Trigger)
		w.Equal("br_1", c.BulkRetryID)
		w.Equal(due, c.DueAt)
	}},
	{name: "applies a batch in order, items of one delivery too", check: func(w *world) {
		e := w.endpoint()
		ids := w.sendMany(e, 3)
		c := w.claim(3)
		n := w.leased(w.event(e), "me")
		r := w.commit(webhook.Batch{
			Sends:    []webhook.SendGroup{w.group(n)},
			Outcomes: []webhook.Outcome{w.outcome(c[0], 500), w.outcome(c[1], 200), w.outcome(handedOver(n, 0), 200)},
			Returned: []webhook.Return{{DeliveryID: c[2].DeliveryID, Lease: c[2].Lease}},
		})
		for i := range r.Outcomes {
			w.True(r.Outcomes[i].Applied)
			w.Equal(w.health(e), r.Outcomes[i].Health, "health is that after the batch")
		}
		w.Equal([]webhook.DeliveryState{webhook.StateScheduled, webhook.StateSucceeded, webhook.StateQueued, webhook.StateSucceeded},
			[]webhook.DeliveryState{w.state(ids[0]), w.state(ids[1]), w.state(ids[2]), w.state(n.Deliveries[0].ID)})
	}},
	{name: "passes over an outcome whose delivery is gone", check: func(w *world) {
		w.send(w.endpoint())
		c := w.claimOne()
		o := w.outcome(c, 200)
		o.DeliveryID = w.newID(id.Delivery)
		good := w.outcome(c, 200)
		r := w.finish(o, good)
		w.False(r[0].Applied)
		w.False(r[0].Taken)
		w.True(r[1].Applied)
		w.commit(webhook.Batch{Returned: []webhook.Return{{DeliveryID: o.DeliveryID, Lease: 1}}})
	}},
	{name: "stores or refuses an attempt whose ID shares a key, never overwrites", check: func(w *world) {
		e := w.endpoint()
		w.sendMany(e, 2)
		c := w.claim(2)
		first, twin := w.outcome(c[0], 200), w.outcome(c[1], 200)
		w.apply(first)
		twin.Attempt.ID = twinOf(w, id.Attempt, first.Attempt.ID)
		if r := w.finish(twin)[0]; r.Taken {
			w.Equal(webhook.StateSending, w.state(c[1].DeliveryID))
			w.Empty(w.attempts(c[1].DeliveryID))
			twin.Attempt.ID = w.newAttemptID()
			w.apply(twin)
		}
		w.Equal(first.Attempt.ID, w.attempts(c[0].DeliveryID)[0].ID)
		w.Equal(twin.Attempt.ID, w.attempts(c[1].DeliveryID)[0].ID)
		w.Equal(webhook.StateSucceeded, w.state(c[1].DeliveryID))
	}},
	{name: "keeps the endpoint's health", check: func(w *world) {
		e := w.endpoint()
		w.sendMany(e, 4)
		c := w.claim(4)
		generation := w.generation()
		failed := w.now
		h := w.apply(w.outcome(c[0], 500)).Health
		w.Equal(failed, h.FailingSince)
		w.EqualValues(1, h.Failures)
		w.False(h.LastFailureAt.Before(failed))
		w.pass(time.Minute)
		h = w.apply(w.ended(c[1], 0, webhook.StateExhausted)).Health
		w.Equal(failed, h.FailingSince)
		w.Equal([]int64{2, 1}, []int64{h.Failures, h.Exhausted})
		o := w.outcome(c[2], 0)
		o.Attempt.Status, o.Attempt.ErrorCode = webhook.AttemptInterrupted, webhook.CodeNetworkRequestCanceled
		w.Equal(h, w.apply(o).Health, "an interruption says nothing about the endpoint")
		w.pass(time.Minute)
		h = w.apply(w.outcome(c[3], 200)).Health
		w.Zero(h.FailingSince)
		w.Equal([]int64{0, 0}, []int64{h.Failures, h.Exhausted})
		w.Equal(w.now.Truncate(time.Minute), h.LastSuccessAt)
		w.Equal(h, w.health(e))
		w.Equal(generation, w.generation(), "health does not raise the generation")
	}},
}
