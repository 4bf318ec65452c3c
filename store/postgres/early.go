package postgres

import (
	"maps"
	"slices"

	"github.com/outhook/webhook/internal/id"
)

// earlyLook is how many free deliveries of an endpoint are looked at for retries to be claimed ahead of
// their time.
const earlyLook = 100

// takeEarly takes retries of the endpoints asked for ahead of their time.
func (c *claim) takeEarly() error {
	for _, endpointID := range slices.Sorted(maps.Keys(c.request.Early)) {
		t, err := c.takingOf(endpointID)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		n := min(c.request.Early[endpointID], t.allowed, c.request.Limit-len(c.keys))
		if n <= 0 {
			continue
		}
		keys, err := c.retries(t, n)
		if err != nil {
			return err
		}
		for _, key := range keys {
			c.keys, c.by = append(c.keys, key), append(c.by, t)
			c.early[key] = true
			t.allowed--
			t.gave++
		}
	}
	return nil
}

// takingOf finds an endpoint among the due ones, or locks its head, which may still have to be made out of
// notes; nil: nothing may be claimed of it, or another process is at it.
func (c *claim) takingOf(endpointID string) (*taking, error) {
	for _, t := range c.ready {
		if t.endpointID == endpointID {
			return t, nil
		}
	}
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return nil, nil
	}
	t := &taking{endpointID: endpointID, after: none}
	found := false
	err := c.session.run(&statement{sql: `INSERT INTO webhook.head (endpoint, next_at, first_key, held)
		SELECT e.num, min(q.next_at), min(q.key), false FROM webhook.endpoint e JOIN webhook.queue q ON q.endpoint = e.num
		WHERE e.key = $1 AND e.rest = $2 AND e.state = 0 AND NOT q.over
			AND NOT EXISTS (SELECT FROM webhook.head WHERE endpoint = e.num)
		GROUP BY e.num ON CONFLICT DO NOTHING`, args: []any{key, rest}},
		&statement{sql: `SELECT e.num, h.next_at, h.first_key, e.ordered, ` + nullable("e.released_at") + `
			FROM webhook.endpoint e JOIN webhook.head h ON h.endpoint = e.num
			WHERE e.key = $1 AND e.rest = $2 AND e.state = 0 AND e.num <> ALL($3::bigint[])
			FOR UPDATE OF h SKIP LOCKED`, args: []any{key, rest, c.aside}, scan: func(r row) error {
			found = true
			return r.Scan(&t.endpoint, &t.nextAt, &t.firstKey, &t.ordered, &t.releasedAt)
		}})
	if err != nil || !found {
		return nil, err
	}
	t.allowed = c.allowance(endpointID)
	c.ahead = append(c.ahead, t)
	return t, nil
}

// retries returns the keys of up to n retries that are free and not due, the soonest first.
func (c *claim) retries(t *taking, n int) (keys []int64, err error) {
	if t.ordered {
		return c.orderedRetry(t)
	}
	err = c.query(func(r row) error {
		var key int64
		err := r.Scan(&key)
		keys = append(keys, key)
		return err
	}, `SELECT q.key FROM (
			SELECT key, next_at FROM webhook.queue WHERE endpoint = $1 AND next_at > $2 AND NOT leased AND NOT over
			ORDER BY next_at, key LIMIT $3) q
		CROSS JOIN LATERAL (SELECT FROM webhook.delivery WHERE key = q.key AND trigger = $4 OFFSET 0) d ORDER BY q.next_at, q.key LIMIT $5`,
		t.endpoint, c.now, int64(earlyLook), int64(triggerAutomatic), int64(n))
	return keys, err
}

// orderedRetry is retries for an ordered endpoint: its first delivery, if nothing of it is leased.
func (c *claim) orderedRetry(t *taking) ([]int64, error) {
	d, from, err := c.first(t.endpoint, t.firstKey, c.now)
	if err != nil || d == nil || d.owner != "" || d.trigger != triggerAutomatic || d.nextAt <= c.now ||
		from != d.nextAt || slices.Contains(c.keys, d.key) {
		return nil, err
	}
	leased, err := c.int(`SELECT count(*) FROM webhook.queue WHERE endpoint = $1 AND next_at > $2 AND leased`, t.endpoint, c.now)
	if err != nil || leased != 0 {
		return nil, err
	}
	return []int64{d.key}, nil
}
