package sqldb

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/packed"
)

// ListAttempts implements [webhook.Store].
func (s *Store) ListAttempts(ctx context.Context, lq webhook.AttemptQuery) (out []webhook.DeliveryAttempt, err error) {
	err = s.read(ctx, func(q *session) error {
		before, err := after(id.Attempt, lq.After)
		if err != nil {
			return err
		}
		l := attemptList{session: q, AttemptQuery: lq}
		found, err := l.conditions()
		if err != nil || !found {
			return err
		}
		from, err := l.from()
		if err != nil {
			return err
		}
		limit := int(pageSize(lq.Limit))
		err = walk(from, before, limit, func(keys []int64) (bool, error) {
			page, err := l.pick(keys)
			out = append(out, page...)
			return len(out) >= limit, err
		})
		out = out[:min(limit, len(out))]
		return err
	})
	return out, err
}

// attemptList is a query on its way.
type attemptList struct {
	*session
	webhook.AttemptQuery
	tenant, endpoint, code int64
	status                 int64
	narrow                 filter
}

// conditions gathers all filters. found is false if something is asked for that never was.
func (l *attemptList) conditions() (found bool, err error) {
	w := &l.narrow
	if !l.AllTenants {
		if l.tenant, found, err = w.name(l.session, "a.tenant", l.TenantID); err != nil || !found {
			return false, err
		}
	}
	if l.EndpointID != "" {
		if l.endpoint, err = l.endpointOf(l.EndpointID, l.tenant); err != nil || l.endpoint == 0 {
			return false, err
		}
		w.and("a.endpoint = ?", l.endpoint)
	}
	if l.Status != "" {
		l.status = int64(slices.Index(attemptStatuses, l.Status))
		w.and("a.status = ?", l.status)
	}
	if l.ErrorCode != "" {
		if l.code, found, err = w.name(l.session, "a.error_code", string(l.ErrorCode)); err != nil || !found {
			return false, err
		}
	}
	w.created("a.started_at", l.Since, l.Until)
	return true, nil
}

// from chooses where candidates come from: what is likely to leave the fewest.
func (l *attemptList) from() (candidates, error) {
	if l.DeliveryID != "" || l.EventID != "" {
		return l.ofDeliveries()
	}
	in := attemptTimes.stretch(l.Since, l.Until)
	from := candidates(nil)
	switch {
	case l.code != 0:
		from = l.scoped("webhook_attempt_code", in, "error_code = ?", l.code)
	case l.status > 0:
		from = l.scoped("webhook_attempt_status", in, "status > 0 AND status = ?", l.status)
	case l.endpoint != 0:
		from = union(l.indexed("webhook_attempt", "webhook_attempt_endpoint", in, "key <> delivery AND endpoint = ?", l.endpoint),
			l.withOwn(in, l.endpoint))
	case l.tenant != 0:
		own, err := l.ofTenant(in)
		if err != nil {
			return nil, err
		}
		from = union(l.indexed("webhook_attempt", "webhook_attempt_tenant", in, "key <> delivery AND tenant = ?", l.tenant), own)
	default:
		from = l.indexed("webhook_attempt", "", in, "")
	}
	return attemptTimes.with(l.session, from, l.Since, l.Until)
}

// ofTenant are the deliveries of a tenant that may have an attempt of their key: those that do, of its
// endpoints; or, where those are many, those near to hand.
func (l *attemptList) ofTenant(in stretch) (candidates, error) {
	endpoints, ok, err := l.fewEndpoints(l.tenant)
	if err != nil || !ok {
		return l.ofLargeTenant(in), err
	}
	of := make([]candidates, len(endpoints))
	for i, num := range endpoints {
		of[i] = l.withOwn(in, num)
	}
	return union(of...), nil
}

// perWanted is how many attempts of all tenants are looked at for one of a tenant with many endpoints.
const perWanted = 16

// ofLargeTenant looks at everybody's attempts: such a tenant has many of them. Where it has not, it walks
// through the tenant's events, past those with nothing but attempts to come.
func (l *attemptList) ofLargeTenant(in stretch) candidates {
	byEvents := l.deliveriesByEvents(in, l.tenant, 0)
	return func(before int64, n int) (keys []int64, err error) {
		seen, look := 0, perWanted*n
		err = l.query(func(r row) error {
			seen++
			if r.int(1) == l.tenant {
				keys = append(keys, r.int(0))
			}
			if len(keys) == n {
				return errStop
			}
			return nil
		}, `SELECT key, tenant FROM webhook_attempt NOT INDEXED WHERE key < ? AND key >= ? ORDER BY key DESC LIMIT ?`,
			min(before, in.before), in.from, int64(look))
		if err != nil || len(keys) == n || seen < look {
			return keys, err
		}
		return byEvents(before, n)
	}
}

// scoped uses the form of an index that there is for endpoints, tenants and all.
func (l *attemptList) scoped(index string, in stretch, terms string, args ...any) candidates {
	switch {
	case l.endpoint != 0:
		return l.indexed("webhook_attempt", index+"_endpoint", in, "endpoint = ? AND "+terms, append([]any{l.endpoint}, args...)...)
	case l.tenant != 0:
		return l.indexed("webhook_attempt", index+"_tenant", in, "tenant = ? AND "+terms, append([]any{l.tenant}, args...)...)
	}
	return l.indexed("webhook_attempt", index, in, terms, args...)
}

// ofDeliveries are the attempts of one delivery, or of all of an event. As anywhere, one that has the key of
// its delivery is found by that.
func (l *attemptList) ofDeliveries() (candidates, error) {
	deliveries, err := l.deliveriesAsked(&l.AttemptQuery)
	if err != nil {
		return nil, err
	}
	var keys []int64
	err = l.query(func(r row) error {
		keys = append(keys, r.int(0))
		return nil
	}, `SELECT key FROM webhook_attempt INDEXED BY webhook_attempt_lease WHERE key <> delivery AND `+among("delivery"),
		jsonKeys(deliveries))
	l.narrow.and(among("a.delivery"), jsonKeys(deliveries))
	return given(append(keys, deliveries...)), err
}

// pick returns those of the candidates that pass all filters, newest first.
func (l *attemptList) pick(keys []int64) ([]webhook.DeliveryAttempt, error) {
	w := filter{terms: slices.Clip(l.narrow.terms), args: slices.Clip(l.narrow.args)}
	w.and(among("a.key"), jsonKeys(keys))
	page, err := l.attempts(`SELECT `+attemptColumns+` FROM webhook_attempt a NOT INDEXED
		CROSS JOIN webhook_delivery d ON d.key = a.delivery
		CROSS JOIN webhook_endpoint p ON p.num = a.endpoint
		CROSS JOIN webhook_event e ON e.key = d.event`+w.where(), w.args...)
	slices.SortFunc(page, func(a, b webhook.DeliveryAttempt) int { return strings.Compare(b.ID, a.ID) })
	return page, err
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
	body, err := packed.UnpackBody(r.bytes(15), r.int(11), &a.DeliveryAttempt)
	a.ID, a.bulk = id.Join(id.Attempt, r.int(0), body.Rest), body.Bulk
	if err == nil {
		err = packed.UnpackCapture(r.bytes(16), &a.DeliveryAttempt)
	}
	if err != nil {
		return a, fmt.Errorf("attempt %s: %w; run PRAGMA integrity_check", a.ID, err)
	}
	a.CreatedAt = fromMicro(body.Created)
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
