package postgres

import (
	"context"
	"errors"
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
		sources := []listing{{"webhook.attempt a", "a.key", w.terms}}
		if lq.EventID == "" && lq.DeliveryID == "" {
			sources = attemptTimes.sources(w, lq.Since, lq.Until)
		}
		return q.query(func(r row) error {
			a, err := scanAttempt(r)
			out = append(out, a)
			return err
		}, newestOf(sources, " LIMIT "+w.arg(pageSize(lq.Limit)), attemptSQL), w.args...)
	})
	return out, err
}

func attemptSQL(s listing) string {
	return `SELECT ` + attemptColumns + ` FROM ` + s.from + ` JOIN webhook.delivery d ON d.key = a.delivery
		JOIN webhook.endpoint p ON p.num = a.endpoint JOIN webhook.event e ON e.key = d.event` + s.where() + ` ORDER BY ` + s.order + ` DESC`
}

func (q *session) attemptFilter(w *filter, lq *webhook.AttemptQuery) (found bool, err error) {
	if err := w.after(id.Attempt, lq.After); err != nil {
		return false, err
	}
	if !lq.AllTenants {
		w.and("a.tenant = ?", lq.TenantID)
	}
	if lq.EndpointID != "" {
		num, err := q.endpointNum(lq.EndpointID)
		if err != nil || num == 0 {
			return false, err
		}
		w.and("a.endpoint = ?", num)
	}
	if lq.DeliveryID != "" || lq.EventID != "" {
		keys, err := q.deliveriesAsked(lq)
		if err != nil || len(keys) == 0 {
			return false, err
		}
		w.and("a.delivery = ANY(?::bigint[])", keys)
	}
	if lq.Status != "" {
		status := int64(slices.Index(attemptStatuses, lq.Status))
		w.and("a.status = ?", status)
		if status > 0 { // for the planner: its index has nothing else
			w.and("a.status > 0")
		}
	}
	if lq.ErrorCode != "" {
		w.and("a.error_code = ?", string(lq.ErrorCode))
	}
	w.between("started_at", lq.Since, lq.Until)
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
	has := int64(0)
	found, err := q.one(`SELECT rest FROM webhook.delivery WHERE key = $1`, []any{key}, &has)
	if err != nil || !found || has != rest {
		return nil, err
	}
	return []int64{key}, nil
}

var attemptColumns = `a.key, a.rest, d.key, d.rest, p.key, p.rest, e.key, e.rest, a.tenant, d.type, a.number, a.trigger,
	a.status, a.started_at, a.completed_at, a.duration_ms, a.resends, a.created_at, a.updated_at, a.method, a.url,
	a.truncated, a.error, a.preview, ` +
	nullable("a.status_code", "a.delivered_at", "a.responded_at", "a.retry_after_ms", "a.next_attempt_at", "a.detail_pruned_at") + `, ` +
	optional("a.bulk", "a.error_code", "a.timings", "a.remote_addr", "a.request_headers", "a.response_headers")

func scanAttempt(r row) (a webhook.DeliveryAttempt, err error) {
	var keys [8]int64
	var trigger, status, started, completed, created, updated, code, delivered, responded, retryAfter, next, pruned int64
	var reason, preview []byte
	var errorCode, timing, request, response string
	if err := r.Scan(&keys[0], &keys[1], &keys[2], &keys[3], &keys[4], &keys[5], &keys[6], &keys[7], &a.TenantID, &a.EventType,
		&a.AttemptNumber, &trigger, &status, &started, &completed, &a.DurationMS, &a.Resends, &created, &updated, &a.Method,
		&a.URL, &a.ResponseBodyTruncated, &reason, &preview, &code, &delivered, &responded, &retryAfter, &next, &pruned,
		&a.BulkRetryID, &errorCode, &timing, &a.RemoteAddr, &request, &response); err != nil {
		return a, err
	}
	for i, to := range []struct {
		id     *string
		prefix string
	}{{&a.ID, id.Attempt}, {&a.DeliveryID, id.Delivery}, {&a.EndpointID, id.Endpoint}, {&a.EventID, id.Event}} {
		*to.id = id.Join(to.prefix, keys[2*i], keys[2*i+1])
	}
	a.Trigger, a.Status, a.ErrorCode, a.Error = member(triggers, trigger), member(attemptStatuses, status), webhook.ErrorCode(errorCode), string(reason)
	a.StartedAt, a.CompletedAt = zeroTime(started), zeroTime(completed)
	a.CreatedAt, a.UpdatedAt = fromMicro(created), fromMicro(updated)
	a.DeliveredAt, a.RespondedAt, a.NextAttemptAt, a.DetailPrunedAt = timePtr(delivered), timePtr(responded), timePtr(next), timePtr(pruned)
	if code != none {
		n := int(code)
		a.StatusCode = &n
	}
	if retryAfter != none {
		a.RetryAfterMS = &retryAfter
	}
	if preview != nil {
		text := string(preview)
		a.ResponseBodyPreview = &text
	}
	var errs [3]error
	a.Timings, errs[0] = timingsFrom(timing)
	a.RequestHeaders, errs[1] = fromJSON[map[string]string](request)
	a.ResponseHeaders, errs[2] = fromJSON[map[string]string](response)
	if err := errors.Join(errs[:]...); err != nil {
		return a, fmt.Errorf("attempt %s is damaged: %w", a.ID, err)
	}
	return a, nil
}
