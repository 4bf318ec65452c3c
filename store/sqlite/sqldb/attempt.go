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

const attemptColumns = `a.key, a.rest, d.key, d.rest, p.key, p.rest, e.key, e.rest, a.tenant, d.type,
	a.number, a.trigger, a.status, a.bulk, a.status_code, a.error_code, a.error, a.started_at, a.delivered_at,
	a.responded_at, a.completed_at, a.duration_ms, a.timings, a.resends, a.retry_after_ms, a.next_attempt_at,
	a.created_at, a.updated_at, a.detail_pruned_at, a.method, a.url, a.remote_addr, a.truncated,
	a.request_headers, a.response_headers, a.preview`

// attemptRow is an attempt as read, its names still to be looked up.
type attemptRow struct {
	webhook.DeliveryAttempt
	tenant, typ, bulk, code int64
}

func scanAttempt(r row) (a attemptRow, err error) {
	a.ID, a.DeliveryID = id.Join(id.Attempt, r.int(0), r.int(1)), id.Join(id.Delivery, r.int(2), r.int(3))
	a.EndpointID, a.EventID = id.Join(id.Endpoint, r.int(4), r.int(5)), id.Join(id.Event, r.int(6), r.int(7))
	a.tenant, a.typ, a.AttemptNumber = r.int(8), r.int(9), int(r.int(10))
	a.Trigger, a.Status = member(triggers, r.int(11)), member(attemptStatuses, r.int(12))
	a.bulk, a.code, a.Error = r.int(13), r.int(15), r.str(16)
	if !r.null(14) {
		status := int(r.int(14))
		a.StatusCode = &status
	}
	a.StartedAt, a.DeliveredAt, a.RespondedAt = zeroTime(r.int(17)), r.timePtr(18), r.timePtr(19)
	a.CompletedAt, a.DurationMS, a.Resends = zeroTime(r.int(20)), r.int(21), int(r.int(23))
	if !r.null(24) {
		wait := r.int(24)
		a.RetryAfterMS = &wait
	}
	a.NextAttemptAt, a.CreatedAt, a.UpdatedAt = r.timePtr(25), r.time(26), r.time(27)
	a.DetailPrunedAt, a.Method, a.URL, a.RemoteAddr = r.timePtr(28), r.str(29), r.str(30), r.str(31)
	a.ResponseBodyTruncated = r.int(32) != 0
	if !r.null(35) {
		preview := r.str(35)
		a.ResponseBodyPreview = &preview
	}
	var errs [3]error
	a.Timings, errs[0] = r.timings(22)
	a.RequestHeaders, errs[1] = r.stringMap(33)
	a.ResponseHeaders, errs[2] = r.stringMap(34)
	for _, err := range errs {
		if err != nil {
			return a, fmt.Errorf("attempt %s is damaged: %w", a.ID, err)
		}
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
