package postgres

import (
	"context"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Requeue implements [webhook.Store].
func (s *Store) Requeue(ctx context.Context, r webhook.RequeueRequest) (out []webhook.RequeueResult, err error) {
	err = s.write(ctx, func(q *session) error {
		rq := &requeuing{session: q, request: &r, now: r.Now.UnixMicro(), ending: newEnding(q)}
		var keys []int64
		for _, deliveryID := range r.IDs {
			if key, _, ok := id.Split(id.Delivery, deliveryID); ok {
				keys = append(keys, key)
			}
		}
		rows, err := q.lockDeliveries(keys)
		if err != nil {
			return err
		}
		if r.Action == webhook.RequeueRetry {
			if err := rq.readStates(rows); err != nil {
				return err
			}
		}
		out = make([]webhook.RequeueResult, len(r.IDs))
		for i, deliveryID := range r.IDs {
			out[i] = webhook.RequeueNotFound
			if key, rest, ok := id.Split(id.Delivery, deliveryID); ok && rows[key] != nil && rows[key].rest == rest {
				out[i] = rq.one(rows[key])
			}
		}
		return rq.flush(rq.now)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

type requeuing struct {
	*session
	*ending
	request *webhook.RequeueRequest
	now     int64
	erased  map[int64]bool  // events that are erased or gone
	states  map[int64]int64 // of endpoints
}

// readStates reads what decides about retries.
func (rq *requeuing) readStates(rows map[int64]*delivery) error {
	rq.erased, rq.states = map[int64]bool{}, map[int64]int64{}
	var events, endpoints []int64
	for _, d := range rows {
		rq.erased[d.event] = true
		events, endpoints = append(events, d.event), append(endpoints, d.endpoint)
	}
	return rq.session.run(&statement{sql: `SELECT key FROM webhook.event WHERE key = ANY($1::bigint[]) AND erased_at IS NULL`,
		args: []any{events}, scan: func(r row) error {
			var key int64
			err := r.Scan(&key)
			rq.erased[key] = false
			return err
		}}, &statement{sql: `SELECT num, state FROM webhook.endpoint WHERE num = ANY($1::bigint[])`,
		args: []any{endpoints}, scan: func(r row) error {
			var num, state int64
			err := r.Scan(&num, &state)
			rq.states[num] = state
			return err
		}})
}

func (rq *requeuing) one(d *delivery) webhook.RequeueResult {
	r := rq.request
	if r.Action == webhook.RequeueRetry {
		return rq.retry(d)
	}
	if d.state != pending || r.BulkRetryID != "" && d.bulk != r.BulkRetryID {
		return webhook.RequeueFinished
	}
	rq.cancel(d, canceled, r.Code, rq.now)
	return webhook.RequeueDone
}

func (rq *requeuing) retry(d *delivery) webhook.RequeueResult {
	switch {
	case d.leased(rq.now):
		return webhook.RequeueLeased
	case rq.erased[d.event]:
		return webhook.RequeueErased
	case member(endpointStates, rq.states[d.endpoint]) == webhook.EndpointDeleted:
		return webhook.RequeueDeleted
	}
	// A pending delivery whose lease ran out stays marked: the next Claim has yet to record the
	// attempt that was lost, under the trigger that it had.
	if lost := d.state == pending && d.owner != ""; !lost {
		d.trigger, d.bulk = number(triggers, rq.request.Trigger), rq.request.BulkRetryID
	}
	if d.state != pending {
		d.state, d.failed, d.failureCode, d.finishedAt, d.owner, d.leasedAt = pending, 0, "", none, "", none
	}
	d.dueAt, d.nextAt, d.updatedAt = rq.now, rq.now, rq.now
	rq.stats.count(d)
	rq.saver.save(d)
	rq.notes.lower(d.endpoint, d.nextAt, d.key, 0, true)
	rq.announce = true
	return webhook.RequeueDone
}

// ending gathers deliveries that end without a request, or are taken back into the queue.
type ending struct {
	of       *session
	saver    *saver
	stats    stats
	notes    notes
	announce bool
}

func newEnding(q *session) *ending { return &ending{of: q, saver: newSaver(), stats: stats{}} }

// cancel ends a pending delivery. A lease stays, so that nobody takes an attempt under way for none.
func (e *ending) cancel(d *delivery, state int64, code webhook.ErrorCode, now int64) {
	d.end(state, string(code), now)
	e.stats.count(d)
	e.notes.unblock(d.endpoint)
	e.saver.save(d)
}

func (e *ending) flush(now int64) error {
	if err := e.of.run(e.saver.statements()...); err != nil {
		return err
	}
	e.of.last = append(e.of.last, e.notes.statements(e.of, now, e.announce)...)
	e.of.last = append(e.of.last, e.stats.statements(e.of)...)
	return nil
}
