package storetest

import (
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var requeueRules = []rule{
	{name: "makes a scheduled delivery due now", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.apply(w.outcome(w.claimOne(), 500))
		w.pass(time.Second)
		w.Equal(webhook.RequeueDone, w.retry(deliveryID))
		item := w.get(deliveryID)
		w.Equal(webhook.StateQueued, item.State)
		w.Equal(w.now, *item.DueAt)
		w.Equal(w.now, item.UpdatedAt)
		c := w.claimOne()
		w.Equal(webhook.TriggerManual, c.Trigger)
		w.Equal([]int{2, 1}, []int{c.AttemptNumber, c.Failed}, "the round goes on")
	}},
	{name: "begins a new round for a finished delivery", check: func(w *world) {
		for _, state := range []webhook.DeliveryState{
			webhook.StateSucceeded, webhook.StateExhausted, webhook.StateGone, webhook.StateCanceled, webhook.StateExpired,
		} {
			deliveryID := w.send(w.endpoint())
			c := w.claimOne()
			o := w.ended(c, 500, state)
			if state == webhook.StateSucceeded {
				o = w.outcome(c, 200)
			}
			w.apply(o)
			w.Equal(webhook.RequeueDone, w.retry(deliveryID), state)
			item := w.get(deliveryID)
			w.Equal(webhook.StateQueued, item.State)
			w.Empty(item.FailureCode)
			w.Equal(1, item.AttemptCount)
			next := w.claimOne()
			w.Equal(webhook.TriggerManual, next.Trigger)
			w.Equal([]int{2, 0}, []int{next.AttemptNumber, next.Failed})
			w.apply(w.outcome(next, 500))
			w.pass(time.Minute)
			next = w.claimOne()
			w.Equal(webhook.TriggerAutomatic, next.Trigger, "only the first attempt of the round is the user's")
			w.Equal([]int{3, 1}, []int{next.AttemptNumber, next.Failed})
			w.apply(w.outcome(next, 200))
		}
	}},
	{name: "keeps the bulk retry for the next attempt only", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.apply(w.ended(w.claimOne(), 500, webhook.StateExhausted))
		w.requeue(webhook.RequeueRequest{
			IDs: []string{deliveryID}, Action: webhook.RequeueRetry, Trigger: webhook.TriggerBulkRetry, BulkRetryID: "br_1",
		})
		c := w.claimOne()
		w.Equal(webhook.TriggerBulkRetry, c.Trigger)
		w.Equal("br_1", c.BulkRetryID)
		w.apply(w.outcome(c, 500))
		w.pass(time.Minute)
		c = w.claimOne()
		w.Equal(webhook.TriggerAutomatic, c.Trigger)
		w.Empty(c.BulkRetryID)
		w.Equal("br_1", w.attempts(deliveryID)[1].BulkRetryID)
	}},
	{name: "refuses to retry what is under way", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		c := w.claimOne()
		before := w.get(deliveryID)
		w.Equal(webhook.RequeueLeased, w.retry(deliveryID))
		w.Equal(before, w.get(deliveryID))
		w.apply(w.outcome(c, 200))
	}},
	{name: "does not lose sight of an attempt whose lease ran out", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.claimOne()
		w.pass(leaseTime + time.Second)
		w.Equal(webhook.RequeueDone, w.retry(deliveryID))
		r := w.claimAs(w.request(1))
		w.Len(r.Claims, 1)
		w.Equal(2, r.Claims[0].AttemptNumber)
		w.Len(r.Interrupted, 1)
		w.Equal(webhook.TriggerInitial, r.Interrupted[0].Trigger)
		w.Equal(start, r.Interrupted[0].StartedAt)
	}},
	{name: "refuses to retry what was erased or lost its endpoint", check: func(w *world) {
		n := w.event(w.endpoint())
		erased := w.store(n)[0]
		_, err := w.s.Erase(w.ctx, webhook.EraseRequest{Now: w.now, EventID: n.Event.ID, Limit: 100})
		w.NoError(err)
		e := w.endpoint()
		orphan := w.send(e)
		w.setState(e, webhook.EndpointDeleted)
		w.Equal(webhook.RequeueErased, w.retry(erased))
		w.Equal(webhook.RequeueDeleted, w.retry(orphan))
	}},
	{name: "answers for each ID, in order", check: func(w *world) {
		e := w.endpoint()
		ids := w.sendMany(e, 3)
		w.Equal(ids[0], w.claim(1)[0].DeliveryID)
		w.cancel(ids[1])
		unknown := w.newID(id.Delivery)
		w.Equal([]webhook.RequeueResult{
			webhook.RequeueNotFound, webhook.RequeueLeased, webhook.RequeueDone, webhook.RequeueDone,
		}, w.requeue(webhook.RequeueRequest{
			IDs: []string{unknown, ids[0], ids[1], ids[2]}, Action: webhook.RequeueRetry, Trigger: webhook.TriggerManual,
		}))
		w.Empty(w.requeue(webhook.RequeueRequest{Action: webhook.RequeueRetry, Trigger: webhook.TriggerManual}))
	}},
	{name: "cancels a pending delivery", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.pass(time.Second)
		w.Equal(webhook.RequeueDone, w.cancel(deliveryID))
		item := w.get(deliveryID)
		w.Equal(webhook.StateCanceled, item.State)
		w.Equal(webhook.StatusFailed, item.Status)
		w.Equal(webhook.CodeCancelled, item.FailureCode)
		w.Equal(w.now, item.UpdatedAt)
		w.Zero(item.AttemptCount)
		w.Nil(item.DueAt)
		w.claimNone()
		w.Equal(webhook.RequeueFinished, w.cancel(deliveryID))
		w.Equal([]webhook.RequeueResult{webhook.RequeueNotFound}, w.requeue(webhook.RequeueRequest{
			IDs: []string{w.newID(id.Delivery)}, Action: webhook.RequeueCancel,
		}))
	}},
	{name: "cancels for a bulk retry only what waits for its attempt", check: func(w *world) {
		e := w.endpoint()
		ids := w.sendMany(e, 4)
		bulk := webhook.RequeueRequest{Action: webhook.RequeueRetry, Trigger: webhook.TriggerBulkRetry, BulkRetryID: "br_1", IDs: ids[:3]}
		w.requeue(bulk)
		under := w.claim(1)[0]
		w.Equal(ids[0], under.DeliveryID)
		w.apply(w.outcome(under, 500)) // the next attempt is automatic
		w.requeue(webhook.RequeueRequest{
			Action: webhook.RequeueRetry, Trigger: webhook.TriggerBulkRetry, BulkRetryID: "br_2", IDs: ids[1:2],
		})
		w.Equal([]webhook.RequeueResult{
			webhook.RequeueFinished, webhook.RequeueFinished, webhook.RequeueDone, webhook.RequeueFinished, webhook.RequeueNotFound,
		}, w.requeue(webhook.RequeueRequest{
			IDs: append(slices.Clone(ids), w.newID(id.Delivery)), Action: webhook.RequeueCancel, BulkRetryID: "br_1",
			Code: webhook.CodeBulkRetryCancelled,
		}))
		item := w.get(ids[2])
		w.Equal(webhook.StateCanceled, item.State)
		w.Equal(webhook.CodeBulkRetryCancelled, item.FailureCode)
		w.Equal(webhook.StateScheduled, w.state(ids[0]))
		w.Equal(webhook.StateQueued, w.state(ids[1]))
	}},
	{name: "takes a canceled lease for over when its time is", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.claimOne()
		w.cancel(deliveryID)
		w.Equal(webhook.RequeueLeased, w.retry(deliveryID))
		w.pass(leaseTime)
		w.Equal(webhook.RequeueDone, w.retry(deliveryID))
		w.Equal(webhook.TriggerManual, w.claimOne().Trigger)
	}},
	{name: "retries a held delivery without releasing it", check: func(w *world) {
		e := w.endpoint()
		deliveryID := w.send(e)
		w.setState(e, webhook.EndpointPaused)
		w.Equal(webhook.RequeueDone, w.retry(deliveryID))
		w.Equal(webhook.StateHeld, w.state(deliveryID))
		w.claimNone()
	}},
	{name: "puts an older delivery before others of an ordered endpoint", check: func(w *world) {
		e := w.endpoint(ordered)
		ids := w.sendMany(e, 2)
		w.apply(w.ended(w.claimOne(), 500, webhook.StateExhausted))
		w.Equal(webhook.RequeueDone, w.retry(ids[0]))
		w.Equal(ids[0], w.claimOne().DeliveryID)
	}},
}
