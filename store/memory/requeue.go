package memory

import (
	"context"

	"github.com/outhook/webhook"
)

// Requeue implements [webhook.Store].
func (s *Store) Requeue(ctx context.Context, r webhook.RequeueRequest) ([]webhook.RequeueResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	out := make([]webhook.RequeueResult, len(r.IDs))
	for i, deliveryID := range r.IDs {
		d := s.deliveries[deliveryID]
		switch {
		case d == nil:
			out[i] = webhook.RequeueNotFound
		case r.Action == webhook.RequeueCancel && r.BulkRetryID != "" && d.bulkRetryID != r.BulkRetryID:
			out[i] = webhook.RequeueFinished
		case r.Action == webhook.RequeueCancel:
			out[i] = s.cancel(d, r.Code, r.Now.UnixMicro())
		default:
			out[i] = s.retry(d, r)
		}
	}
	return out, nil
}

func (s *Store) retry(d *delivery, r webhook.RequeueRequest) webhook.RequeueResult {
	now := r.Now.UnixMicro()
	switch {
	case d.leased(now):
		return webhook.RequeueLeased
	case d.event.ErasedAt != nil:
		return webhook.RequeueErased
	case d.endpoint.row.Deleted():
		return webhook.RequeueDeleted
	}
	// A pending delivery whose lease ran out stays marked: the next Claim has yet to record the
	// attempt that was lost, under the trigger that it had.
	if lost := d.pending() && d.leasedBy != ""; !lost {
		d.trigger, d.bulkRetryID = r.Trigger, r.BulkRetryID
	}
	if !d.pending() {
		d.state, d.failed, d.failureCode, d.endedAt, d.leasedBy = webhook.StateScheduled, 0, "", 0, ""
	}
	d.dueAt, d.nextAt, d.updatedAt = now, now, now
	s.settle(d)
	return webhook.RequeueDone
}

// cancel ends a pending delivery. A lease stays, so that nobody takes an attempt under way for none.
func (s *Store) cancel(d *delivery, code webhook.ErrorCode, now int64) webhook.RequeueResult {
	if !d.pending() {
		return webhook.RequeueFinished
	}
	d.end(webhook.StateCanceled, code, now)
	s.settle(d)
	return webhook.RequeueDone
}
