package sqldb

import (
	"context"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Requeue implements [webhook.Store].
func (s *Store) Requeue(ctx context.Context, r webhook.RequeueRequest) (out []webhook.RequeueResult, err error) {
	err = s.write(ctx, func(q *session) error {
		out = make([]webhook.RequeueResult, len(r.IDs))
		sums := stats{}
		for i, deliveryID := range r.IDs {
			if out[i], err = q.requeue(&r, deliveryID, sums); err != nil {
				return err
			}
		}
		return sums.flush(q)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (q *session) requeue(r *webhook.RequeueRequest, deliveryID string, sums stats) (webhook.RequeueResult, error) {
	key, rest, ok := id.Split(id.Delivery, deliveryID)
	if !ok {
		return webhook.RequeueNotFound, nil
	}
	d, err := q.deliveryToChange(key)
	if err != nil || d == nil || d.rest != rest {
		return webhook.RequeueNotFound, err
	}
	if r.Action == webhook.RequeueCancel {
		if d.state != pending {
			return webhook.RequeueFinished, nil
		}
		if r.BulkRetryID != "" {
			bulk, err := q.find(r.BulkRetryID)
			if err != nil || d.bulk == 0 || d.bulk != bulk {
				return webhook.RequeueFinished, err
			}
		}
		return webhook.RequeueDone, q.cancel(d, canceled, r.Code, r.Now.UnixMicro(), sums)
	}
	return q.retry(d, r, sums)
}

func (q *session) retry(d *delivery, r *webhook.RequeueRequest, sums stats) (webhook.RequeueResult, error) {
	now := r.Now.UnixMicro()
	if d.leased(now) {
		return webhook.RequeueLeased, nil
	}
	event, err := q.eventHead(d.event)
	if err != nil {
		return 0, err
	}
	if event == nil || event.erased {
		return webhook.RequeueErased, nil
	}
	state, err := q.int(`SELECT state FROM webhook_endpoint WHERE num = ?`, d.endpoint)
	if err != nil {
		return 0, err
	}
	if member(endpointStates, state) == webhook.EndpointDeleted {
		return webhook.RequeueDeleted, nil
	}
	before := d.state
	// A pending delivery whose lease ran out stays marked: the next Claim has yet to record the
	// attempt that was lost, under the trigger that it had.
	if lost := d.state == pending && d.owner != 0; !lost {
		d.trigger = number(triggers, r.Trigger)
		if d.bulk, err = q.internOpt(r.BulkRetryID); err != nil {
			return 0, err
		}
	}
	if d.state != pending {
		d.state, d.failed, d.failureCode, d.finishedAt, d.owner, d.leasedAt = pending, 0, 0, none, 0, none
	}
	d.dueAt, d.nextAt, d.updatedAt = now, now, now
	sums.move(d.endpoint, before, d.state)
	if err := q.save(d); err != nil {
		return 0, err
	}
	return webhook.RequeueDone, q.lower(d)
}

// cancel ends a pending delivery. A lease stays, so that nobody takes an attempt under way for none.
func (q *session) cancel(d *delivery, state int64, code webhook.ErrorCode, now int64, sums stats) error {
	num, err := q.internOpt(string(code))
	if err != nil {
		return err
	}
	before := d.state
	d.end(state, num, now)
	sums.move(d.endpoint, before, d.state)
	if err := q.unblock(d.endpoint); err != nil {
		return err
	}
	return q.save(d)
}
