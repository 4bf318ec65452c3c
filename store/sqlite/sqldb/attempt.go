package sqldb

import (
	"context"
	"fmt"
	"slices"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// ListAttempts implements [webhook.Store].
func (s *Store) ListAttempts(ctx context.Context, lq webhook.AttemptQuery) (out []webhook.DeliveryAttempt, err error) {
	err = s.read(ctx, func(q *session) error {
		w := &filter{of: "a."}
		found, err := q.attemptFilter(w, &lq)
		if err != nil || !found {
			return err
		}
		order := ` ORDER BY a.key DESC LIMIT ?`
		out, err = q.attempts(`SELECT `+attemptColumns+` FROM webhook_attempt a `+w.hint+`
			CROSS JOIN webhook_delivery d ON d.key = a.delivery
			CROSS JOIN webhook_endpoint p ON p.num = a.endpoint
			CROSS JOIN webhook_event e ON e.key = d.event`+w.where()+order, append(w.args, pageSize(lq.Limit))...)
		return err
	})
	return out, err
}

func (q *session) attemptFilter(w *filter, lq *webhook.AttemptQuery) (found bool, err error) {
	if err := w.after(id.Attempt, lq.After); err != nil {
		return false, err
	}
	if !lq.AllTenants {
		w.hint = "INDEXED BY webhook_attempt_tenant"
		if found, err := w.name(q, "a.tenant", lq.TenantID); err != nil || !found {
			return false, err
		}
	}
	if lq.EndpointID != "" {
		num, err := q.endpointNum(lq.EndpointID)
		if err != nil || num == 0 {
			return false, err
		}
		w.hint = "INDEXED BY webhook_attempt_endpoint"
		w.and("a.endpoint = ?", num)
	}
	if lq.DeliveryID != "" || lq.EventID != "" {
		keys, err := q.deliveriesAsked(lq)
		if err != nil || len(keys) == 0 {
			return false, err
		}
		w.hint = "INDEXED BY webhook_attempt_lease"
		w.and("a.delivery IN (SELECT value FROM json_each(?))", jsonKeys(keys))
	}
	if lq.Status != "" {
		w.and("a.status = ?", int64(slices.Index(attemptStatuses, lq.Status)))
	}
	if lq.ErrorCode != "" {
		if found, err := w.name(q, "a.error_code", string(lq.ErrorCode)); err != nil || !found {
			return false, err
		}
	}
	if !lq.Since.IsZero() {
		// An attempt's ID is made when it starts or later.
		w.and("a.key >= ? AND a.started_at >= ?", id.KeyAt(lq.Since.Add(-slack)), ceilMicro(lq.Since))
	}
	if !lq.Until.IsZero() {
		w.and("a.started_at < ?", ceilMicro(lq.Until))
	}
	return true, nil
}

// deliveriesAsked returns the keys of the deliveries whose attempts are asked for.
func (q *session) deliveriesAsked(lq *webhook.AttemptQuery) (keys []int64, err error) {
	if lq.EventID != "" {
		if keys, err = q.deliveriesOf(lq.EventID); err != nil {
			return nil, err
		}
	}
	if lq.DeliveryID == "" {
		return keys, nil
	}
	key, rest, ok := id.Split(id.Delivery, lq.DeliveryID)
	if !ok || lq.EventID != "" && !slices.Contains(keys, key) {
		return nil, nil
	}
	has, _, found, err := q.deliveryIdent(key)
	if err != nil || !found || has != rest {
		return nil, err
	}
	return []int64{key}, nil
}

const attemptColumns = `a.key, d.key, d.rest, p.key, p.rest, e.key, e.rest, a.tenant, d.type, a.status,
	a.error_code, a.started_at, a.completed_at, a.updated_at, a.detail_pruned_at, a.body, a.capture`

// attemptRow is an attempt as read, its names still to be looked up.
type attemptRow struct {
	webhook.DeliveryAttempt
	tenant, typ, bulk, code int64
}

func scanAttempt(r row) (a attemptRow, err error) {
	a.DeliveryID, a.EndpointID = id.Join(id.Delivery, r.int(1), r.int(2)), id.Join(id.Endpoint, r.int(3), r.int(4))
	a.EventID = id.Join(id.Event, r.int(5), r.int(6))
	a.tenant, a.typ, a.Status, a.code = r.int(7), r.int(8), member(attemptStatuses, r.int(9)), r.int(10)
	a.StartedAt, a.CompletedAt, a.DetailPrunedAt = zeroTime(r.int(11)), zeroTime(r.int(12)), r.timePtr(14)
	body, err := unpackBody(r.bytes(15), r.int(11), &a.DeliveryAttempt)
	a.ID, a.bulk = id.Join(id.Attempt, r.int(0), body.rest), body.bulk
	if err == nil {
		err = unpackCapture(r.bytes(16), &a.DeliveryAttempt)
	}
	if err != nil {
		return a, fmt.Errorf("attempt %s: %w", a.ID, err)
	}
	a.CreatedAt = fromMicro(body.created)
	a.UpdatedAt = a.CreatedAt
	if !r.null(13) {
		a.UpdatedAt = r.time(13)
	}
	return a, nil
}

func (q *session) attempts(sql string, args ...any) ([]webhook.DeliveryAttempt, error) {
	var read []attemptRow
	if err := q.query(func(r row) error {
		a, err := scanAttempt(r)
		read = append(read, a)
		return err
	}, sql, args...); err != nil {
		return nil, err
	}
	var out []webhook.DeliveryAttempt
	for i := range read {
		a := &read[i]
		var code string
		for _, n := range []struct {
			to  *string
			num int64
		}{{&a.TenantID, a.tenant}, {&a.EventType, a.typ}, {&a.BulkRetryID, a.bulk}, {&code, a.code}} {
			var err error
			if *n.to, err = q.name(n.num); err != nil {
				return nil, err
			}
		}
		a.ErrorCode = webhook.ErrorCode(code)
		out = append(out, a.DeliveryAttempt)
	}
	return out, nil
}
