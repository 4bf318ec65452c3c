package sqldb

import (
	"context"
	"errors"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Erase implements [webhook.Store]. What is erased is overwritten in the file as well, and on a store
// made with [Open] the WAL is emptied after the last step, unless somebody reads at that moment.
func (s *Store) Erase(ctx context.Context, r webhook.EraseRequest) (out webhook.EraseResult, err error) {
	err = s.write(ctx, func(q *session) (err error) {
		restore, err := q.overwrite()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, restore()) }()
		sums := stats{}
		if r.EventID != "" {
			out, err = q.eraseEvent(r.EventID, r.Now.UnixMicro(), sums)
		} else {
			out, err = q.eraseTenant(r.TenantID, max(r.Limit, 1), sums)
		}
		if err != nil {
			return err
		}
		return sums.flush(q)
	})
	if err == nil && !out.More {
		err = s.emptyWAL(ctx)
	}
	if err != nil {
		return webhook.EraseResult{}, err
	}
	return out, nil
}

// overwrite makes SQLite fill with zeros what it frees, until restore is called.
func (q *session) overwrite() (restore func() error, err error) {
	was, err := pragmaInt(q.run, q.c, `PRAGMA secure_delete`)
	if err != nil {
		return nil, err
	}
	set := func(value string) error { return pragmaSet(q.run, q.c, `PRAGMA secure_delete = `+value) }
	before := map[int64]string{0: "OFF", 1: "ON", 2: "FAST"}[was]
	return func() error { return set(before) }, set("ON")
}

func (q *session) eraseEvent(eventID string, now int64, sums stats) (r webhook.EraseResult, err error) {
	key, rest, ok := id.Split(id.Event, eventID)
	if !ok {
		return r, eventNotFound(eventID)
	}
	head, err := q.eventHead(key)
	if err != nil {
		return r, err
	}
	if head == nil || head.rest != rest {
		return r, eventNotFound(eventID)
	}
	if err := q.exec(`UPDATE webhook_event SET payload = NULL, erased_at = coalesce(erased_at, ?) WHERE key = ?`,
		now, key); err != nil {
		return r, err
	}
	for _, d := range head.deliveries {
		pending, err := q.eraseDelivery(d.key, now, sums)
		if err != nil {
			return r, err
		}
		if pending {
			r.Canceled = append(r.Canceled, id.Join(id.Delivery, d.key, d.rest))
		}
	}
	return r, nil
}

func (q *session) eraseDelivery(key, now int64, sums stats) (wasPending bool, err error) {
	if err := q.exec(`UPDATE webhook_attempt SET capture = NULL, detail_pruned_at = ?, updated_at = ?
		WHERE key <> delivery AND delivery = ? AND capture IS NOT NULL`, now, now, key); err != nil {
		return false, err
	}
	if err := q.exec(`UPDATE webhook_attempt SET capture = NULL, detail_pruned_at = ?, updated_at = ?
		WHERE key = ? AND delivery = key AND capture IS NOT NULL`, now, now, key); err != nil {
		return false, err
	}
	d, err := q.deliveryToChange(key)
	if err != nil || d == nil || d.state != pending {
		return false, err
	}
	return true, q.cancel(d, canceled, webhook.CodeDataArchived, now, sums)
}

// eraseTenant removes endpoints first, so that nothing new is sent to them, then events with all that
// hangs on them.
func (q *session) eraseTenant(tenantID string, limit int, sums stats) (r webhook.EraseResult, err error) {
	tenant, err := q.find(tenantID)
	if err != nil || tenant == 0 {
		return r, err
	}
	if err := q.unfoldAll(); err != nil {
		return r, err
	}
	if err := q.exec(`DELETE FROM webhook_bulk WHERE tenant = ? AND all_tenants = 0`, tenant); err != nil {
		return r, err
	}
	if limit, err = q.eraseEndpoints(tenant, limit); err != nil {
		return r, err
	}
	if limit > 0 {
		if limit, err = q.eraseDeliveries(tenant, limit, sums, &r); err != nil {
			return r, err
		}
	}
	if limit > 0 {
		n, err := q.changed(`DELETE FROM webhook_event WHERE key IN (
			SELECT key FROM webhook_event INDEXED BY webhook_event_tenant WHERE tenant = ? LIMIT ?)`, tenant, int64(limit))
		if err != nil {
			return r, err
		}
		limit -= int(n)
	}
	r.More = limit <= 0
	return r, nil
}

// eraseEndpoints leaves rows without content behind, from which other processes learn of the deletion.
// Only SyncEndpoints shows them.
func (q *session) eraseEndpoints(tenant int64, limit int) (left int, err error) {
	var nums []int64
	err = q.query(func(r row) error {
		nums = append(nums, r.int(0))
		return nil
	}, `SELECT num FROM webhook_endpoint INDEXED BY webhook_endpoint_tenant WHERE tenant = ? AND erased = 0 LIMIT ?`,
		tenant, int64(limit))
	if err != nil {
		return 0, err
	}
	for _, num := range nums {
		if err := q.storeEndpoint(num, &webhook.EndpointRow{State: webhook.EndpointDeleted}); err != nil {
			return 0, err
		}
		if err := q.exec(`UPDATE webhook_endpoint SET erased = 1, created_at = updated_at WHERE num = ?`, num); err != nil {
			return 0, err
		}
		if err := q.unsum(num, tenant); err != nil {
			return 0, err
		}
		if err := q.exec(`DELETE FROM webhook_stat WHERE endpoint = ? AND hour > 0`, num); err != nil {
			return 0, err
		}
	}
	return limit - len(nums), nil
}

func (q *session) eraseDeliveries(tenant int64, limit int, sums stats, r *webhook.EraseResult) (left int, err error) {
	keys, err := q.someDeliveries(tenant, limit)
	if err != nil {
		return 0, err
	}
	rows := map[int64]*delivery{}
	if err := q.deliveriesByKey(keys, rows); err != nil {
		return 0, err
	}
	found := make([]*delivery, 0, len(rows))
	for _, key := range sortedKeys(rows) {
		d := rows[key]
		found = append(found, d)
		if d.state == pending {
			r.Canceled = append(r.Canceled, d.id())
		}
	}
	_, _, err = q.drop(found, sums)
	return limit - len(found), err
}

// someDeliveries returns the keys of up to limit deliveries of a tenant, of its oldest events. Fewer: there
// are no more.
func (q *session) someDeliveries(tenant int64, limit int) (keys []int64, err error) {
	for at, more := int64(none), true; more && len(keys) < limit; {
		var some []ident
		more = false
		err := q.query(func(r row) error {
			at, more = r.int(0), true
			if some = append(some, unpack(r.bytes(1))...); len(some) >= limit {
				return errStop
			}
			return nil
		}, `SELECT key, deliveries FROM webhook_event INDEXED BY webhook_event_tenant
			WHERE tenant = ? AND (deliveries IS NULL) = 0 AND key > ? ORDER BY key LIMIT ?`, tenant, at, int64(limit))
		if err != nil {
			return nil, err
		}
		if some, err = q.existing(some); err != nil {
			return nil, err
		}
		keys = append(keys, keysOf(some)...)
	}
	return keys[:min(limit, len(keys))], nil
}
