package postgres

import (
	"context"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Erase implements [webhook.Store]. What is erased leaves the table's pages when vacuum gets to them, and
// the write-ahead log and backups as those are recycled.
func (s *Store) Erase(ctx context.Context, r webhook.EraseRequest) (out webhook.EraseResult, err error) {
	err = s.write(ctx, func(q *session) (err error) {
		e := erasing{session: q, ending: newEnding(q), now: r.Now.UnixMicro()}
		if r.EventID != "" {
			err = e.event(r.EventID)
		} else {
			err = e.tenant(r.TenantID, max(r.Limit, 1))
		}
		if err != nil {
			return err
		}
		out = e.result
		return e.flush(e.now)
	})
	if err != nil {
		return webhook.EraseResult{}, err
	}
	return out, nil
}

type erasing struct {
	*session
	*ending
	now    int64
	result webhook.EraseResult
}

// event locks the deliveries before it takes away what was captured: a result that comes late then finds
// its event erased.
func (e *erasing) event(eventID string) error {
	key, rest, ok := id.Split(id.Event, eventID)
	if !ok {
		return eventNotFound(eventID)
	}
	head, err := e.eventHead(key)
	if err != nil {
		return err
	}
	if head == nil || head.rest != rest {
		return eventNotFound(eventID)
	}
	keys := keysOf(head.deliveries)
	rows, err := e.lockDeliveries(keys)
	if err != nil {
		return err
	}
	if err := e.session.run(
		&statement{sql: `UPDATE webhook.event SET payload = NULL, erased_at = coalesce(erased_at, $2) WHERE key = $1`,
			args: []any{key, e.now}},
		&statement{sql: `UPDATE webhook.attempt SET capture = NULL, detail_pruned_at = $2, updated_at = $2
			WHERE delivery = ANY($1::bigint[]) AND capture IS NOT NULL`, args: []any{keys, e.now}},
	); err != nil {
		return err
	}
	for _, d := range head.deliveries {
		if row := rows[d.key]; row != nil && row.state == pending {
			e.result.Canceled = append(e.result.Canceled, row.id())
			e.cancel(row, canceled, webhook.CodeDataArchived, e.now)
		}
	}
	return nil
}

// tenant removes endpoints first, so that nothing new is sent to them, then events with all that hangs on
// them.
func (e *erasing) tenant(tenant string, limit int) error {
	if err := e.exec(`DELETE FROM webhook.bulk WHERE tenant = $1 AND NOT all_tenants`, tenant); err != nil {
		return err
	}
	limit, err := e.endpoints(tenant, limit)
	if err != nil {
		return err
	}
	if limit > 0 {
		old, _, _, err := e.drop(`key = ANY(ARRAY(SELECT key FROM webhook.delivery WHERE tenant = $1 ORDER BY key LIMIT $2))`,
			tenant, int64(limit))
		if err != nil {
			return err
		}
		for _, d := range old {
			if d.state == pending {
				e.result.Canceled = append(e.result.Canceled, d.id())
			}
		}
		limit -= len(old)
	}
	if limit > 0 {
		n, err := e.changed(`DELETE FROM webhook.event WHERE key = ANY(ARRAY(
			SELECT key FROM webhook.event WHERE tenant = $1 ORDER BY key LIMIT $2))`, tenant, int64(limit))
		if err != nil {
			return err
		}
		limit -= int(n)
	}
	e.result.More = limit <= 0
	return nil
}

// endpoints leaves rows without content behind, from which other processes learn of the deletion.
// Only SyncEndpoints shows them.
func (e *erasing) endpoints(tenant string, limit int) (left int, err error) {
	var nums []int64
	const some = `SELECT num FROM webhook.endpoint WHERE tenant = $1 AND NOT erased LIMIT $2`
	found, err := e.int(`SELECT count(*) FROM (`+some+`) x`, tenant, int64(1))
	if err != nil || found == 0 {
		return limit, err
	}
	blank := webhook.EndpointRow{State: webhook.EndpointDeleted}
	if blank.Generation, err = e.nextGeneration(); err != nil {
		return 0, err
	}
	if err := e.query(func(r row) error {
		var num int64
		err := r.Scan(&num)
		nums = append(nums, num)
		return err
	}, some+` FOR UPDATE`, tenant, int64(limit)); err != nil {
		return 0, err
	}
	for i, num := range nums {
		if i > 0 {
			if blank.Generation, err = e.int(`UPDATE webhook.meta SET generation = generation + 1 RETURNING generation`); err != nil {
				return 0, err
			}
		}
		was := webhook.EndpointRow{Health: webhook.EndpointHealth{Failures: -1}} // written anew whatever it was
		if err := e.storeEndpoint(num, &was, &blank); err != nil {
			return 0, err
		}
		if err := e.session.run(
			&statement{sql: `UPDATE webhook.endpoint SET erased = true, created_at = updated_at WHERE num = $1`, args: []any{num}},
			&statement{sql: `INSERT INTO webhook.stat AS s (endpoint, hour, kind, shard, n)
				SELECT $2::bigint, hour, kind, shard, -n FROM webhook.stat WHERE endpoint = $1 AND hour > 0
				ON CONFLICT (endpoint, hour, kind, shard) DO UPDATE SET n = s.n + excluded.n`, args: []any{num, int64(all)}},
			&statement{sql: `DELETE FROM webhook.stat WHERE endpoint = $1 AND hour > 0`, args: []any{num}},
		); err != nil {
			return 0, err
		}
	}
	return limit - len(nums), nil
}
