package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/packed"
)

// ListAttempts implements [webhook.Store].
func (s *Store) ListAttempts(ctx context.Context, lq webhook.AttemptQuery) (out []webhook.DeliveryAttempt, err error) {
	err = s.read(ctx, func(q *session) error {
		w := &filter{of: "a."}
		from, err := q.attemptFilter(w, &lq)
		if err != nil || from == "" {
			return err
		}
		sources := []listing{{from, "a.key", w.terms}}
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

// attemptFilter returns where the attempts are to be found, "" if there is none.
func (q *session) attemptFilter(w *filter, lq *webhook.AttemptQuery) (from string, err error) {
	if err := w.after(id.Attempt, lq.After); err != nil {
		return "", err
	}
	from = "webhook.attempt a"
	if !lq.AllTenants {
		w.and("a.tenant = ?", lq.TenantID)
	}
	if lq.EndpointID != "" {
		num, err := q.endpointOf(lq.EndpointID, lq.AllTenants, lq.TenantID)
		if err != nil || num == 0 {
			return "", err
		}
		w.and("a.endpoint = ?", num)
	}
	if lq.DeliveryID != "" || lq.EventID != "" {
		keys, err := q.deliveriesAsked(lq)
		if err != nil || len(keys) == 0 {
			return "", err
		}
		// They are few. The planner, before the table is analyzed, takes them for many and reads it backwards.
		from = "(SELECT * FROM webhook.attempt WHERE delivery = ANY(" + w.arg(keys) + "::bigint[]) OFFSET 0) a"
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
	return from, nil
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

var attemptColumns = `a.key, d.key, d.rest, p.key, p.rest, e.key, e.rest, a.tenant, d.type, a.status, a.started_at,
	a.completed_at, ` + nullable("a.updated_at", "a.detail_pruned_at") + `, ` + optional("a.bulk", "a.error_code") + `, a.body, a.capture`

func scanAttempt(r row) (a webhook.DeliveryAttempt, err error) {
	var key, status, started, completed, updated, pruned int64
	var keys [6]int64
	var code string
	var body, capture []byte
	if err := r.Scan(&key, &keys[0], &keys[1], &keys[2], &keys[3], &keys[4], &keys[5], &a.TenantID, &a.EventType, &status,
		&started, &completed, &updated, &pruned, &a.BulkRetryID, &code, &body, &capture); err != nil {
		return a, err
	}
	a.DeliveryID, a.EndpointID = id.Join(id.Delivery, keys[0], keys[1]), id.Join(id.Endpoint, keys[2], keys[3])
	a.EventID = id.Join(id.Event, keys[4], keys[5])
	a.Status, a.ErrorCode = member(attemptStatuses, status), webhook.ErrorCode(code)
	a.StartedAt, a.CompletedAt, a.DetailPrunedAt = zeroTime(started), zeroTime(completed), timePtr(pruned)
	b, err := packed.UnpackBody(body, started, &a)
	a.ID = id.Join(id.Attempt, key, b.Rest)
	if err = errors.Join(err, packed.UnpackCapture(capture, &a)); err != nil {
		return a, fmt.Errorf("attempt %s: %w", a.ID, err)
	}
	a.CreatedAt = fromMicro(b.Created)
	a.UpdatedAt = a.CreatedAt
	if updated != none {
		a.UpdatedAt = fromMicro(updated)
	}
	return a, nil
}
