package postgres

// earliest returns the pending delivery of an endpoint that is claimable first. What was handed over and
// should be in the queue by now counts as if it were.
func (q *session) earliest(endpoint, now int64) (nextAt, dueAt int64, found bool, err error) {
	found, err = q.one(`SELECT d.next_at, `+nullable("d.due_at")+` FROM (
			(SELECT key FROM webhook.queue WHERE endpoint = $1 AND NOT over ORDER BY next_at, key LIMIT 1)
			UNION ALL SELECT h.key FROM webhook.note n CROSS JOIN LATERAL unnest(n.handed) AS h(key)
				WHERE n.at <= $2 AND $1 = ANY(n.endpoint)) q
		CROSS JOIN LATERAL (SELECT * FROM webhook.delivery WHERE key = q.key AND endpoint = $1 AND state = 0 OFFSET 0) d
		ORDER BY d.next_at, d.key LIMIT 1`, []any{endpoint, now}, &nextAt, &dueAt)
	return nextAt, dueAt, found, err
}

// first returns the pending delivery of an ordered endpoint that has the lowest ID, and from when on
// it may be claimed: when no lease of the endpoint runs any more. The head may not know of it yet: its note may
// be with another process's Claim, or be left to the next one.
func (q *session) first(endpoint, firstKey, now int64) (d *delivery, from int64, err error) {
	leasedUntil := int64(none)
	err = q.run(&statement{sql: `SELECT ` + deliveryColumns + ` FROM webhook.delivery d
		WHERE endpoint = $1 AND key >= least($2, (SELECT min(u.key) FROM webhook.note n
			CROSS JOIN LATERAL unnest(n.endpoint, n.key) AS u(endpoint, key) WHERE n.at = 0 AND u.endpoint = $1))
			AND state = 0 ORDER BY key LIMIT 1`, args: []any{endpoint, firstKey},
		scan: func(r row) error {
			d, err = scanDelivery(r)
			return err
		}}, &statement{
		// What is due later without a lease is looked over; in an ordered endpoint that is rare.
		sql: `SELECT next_at FROM webhook.queue WHERE endpoint = $1 AND next_at > $2 AND leased
			ORDER BY next_at DESC LIMIT 1`, args: []any{endpoint, now},
		scan: func(r row) error { return r.Scan(&leasedUntil) }})
	if err != nil || d == nil {
		return nil, 0, err
	}
	return d, max(d.nextAt, leasedUntil), nil
}

// next returns from when on Claim finds something at an endpoint, and when that was due.
func (q *session) next(t *taking, now int64) (nextAt, dueAt int64, found bool, err error) {
	if !t.ordered {
		return q.earliest(t.endpoint, now)
	}
	d, from, err := q.first(t.endpoint, t.firstKey, now)
	if err != nil || d == nil {
		return 0, 0, false, err
	}
	return from, d.dueAt, true, nil
}

// correctHeads puts the heads of all endpoints that were looked at where they belong. They are locked: what
// this does not see has a note that waits for the lock, or was not committed.
func (c *claim) correctHeads() error {
	plain := map[int64]*taking{}
	var nums []int64
	for _, t := range append(c.ready, c.ahead...) {
		if !t.ordered {
			plain[t.endpoint], nums = t, append(nums, t.endpoint)
			continue
		}
		at, err := c.correct(t.endpoint, t.firstKey, c.now)
		if err != nil {
			return err
		}
		t.after = at
	}
	var list []*statement
	if len(nums) > 0 {
		list = append(list, &statement{sql: `UPDATE webhook.head h SET next_at = q.next_at
			FROM unnest($1::bigint[]) AS u(endpoint) CROSS JOIN LATERAL (
				SELECT next_at FROM webhook.queue WHERE endpoint = u.endpoint AND NOT over ORDER BY next_at, key LIMIT 1) q
			WHERE h.endpoint = u.endpoint RETURNING h.endpoint, h.next_at`, args: []any{nums}, scan: func(r row) error {
			var num, at int64
			err := r.Scan(&num, &at)
			plain[num].after = at
			return err
		}}, &statement{sql: `DELETE FROM webhook.head h WHERE endpoint = ANY($1::bigint[]) AND NOT EXISTS (
			SELECT FROM webhook.queue WHERE endpoint = h.endpoint AND NOT over)`, args: []any{nums}})
	}
	if len(c.closed) > 0 {
		// A change of the endpoint that is under way will see to its head itself.
		list = append(list, &statement{sql: `UPDATE webhook.head SET held = true WHERE endpoint IN (
			SELECT num FROM webhook.endpoint WHERE num = ANY($1::bigint[]) AND state <> 0 FOR SHARE SKIP LOCKED)`,
			args: []any{c.closed}})
	}
	return c.session.run(list...)
}

// correct writes an ordered endpoint's head anew and returns from when on it has something to claim,
// none if nothing is pending. Its first key stays a lower bound.
func (q *session) correct(endpoint, firstKey, now int64) (from int64, err error) {
	d, from, err := q.first(endpoint, firstKey, now)
	if err != nil {
		return none, err
	}
	if d == nil {
		return none, q.exec(`DELETE FROM webhook.head WHERE endpoint = $1`, endpoint)
	}
	return from, q.exec(`UPDATE webhook.head SET next_at = $1, first_key = $2 WHERE endpoint = $3
		AND (next_at <> $1 OR first_key <> $2)`, from, d.key, endpoint)
}

// rebuild brings an endpoint's head in line with a change of the endpoint. It may make it earlier than
// need be, never later.
func (q *session) rebuild(endpoint int64, held bool) error {
	// A head may stand although nothing is pending.
	if err := q.exec(`UPDATE webhook.head SET held = $2 WHERE endpoint = $1`, endpoint, held); err != nil {
		return err
	}
	return q.exec(`INSERT INTO webhook.head AS h (endpoint, next_at, first_key, held)
		SELECT $1::bigint, min(next_at), min(key), $2::boolean FROM webhook.queue WHERE endpoint = $1 AND NOT over HAVING count(*) > 0
		ON CONFLICT (endpoint) DO UPDATE SET next_at = least(h.next_at, excluded.next_at),
			first_key = least(h.first_key, excluded.first_key), held = excluded.held`, endpoint, held)
}
