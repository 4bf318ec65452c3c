package sqldb

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
		keys, err := c.early(t, n)
		if err != nil {
			return err
		}
		for _, key := range keys {
			c.keys, c.by = append(c.keys, key), append(c.by, t)
			t.allowed--
			t.gave++
		}
	}
	return nil
}

// takingOf finds an endpoint among the due ones, or reads it; nil: nothing may be claimed of it.
func (c *claim) takingOf(endpointID string) (*taking, error) {
	for _, t := range c.ready {
		if t.endpointID == endpointID {
			return t, nil
		}
	}
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok || c.aside(endpointID) {
		return nil, nil
	}
	t := &taking{endpointID: endpointID, after: none}
	found, err := c.one(func(r row) {
		t.endpoint, t.nextAt, t.firstKey = r.int(0), r.int(1), r.int(2)
		t.ordered, t.releasedAt = r.int(3) != 0, r.opt(4)
	}, `SELECT e.num, h.next_at, h.first_key, e.ordered, e.released_at
		FROM webhook_endpoint e CROSS JOIN webhook_head h ON h.endpoint = e.num
		WHERE e.key = ? AND e.rest = ? AND e.state = 0`, key, rest)
	if err != nil || !found {
		return nil, err
	}
	t.allowed = c.allowance(endpointID)
	c.ahead = append(c.ahead, t)
	return t, nil
}

// early returns the keys of up to n retries that are free and not due, the soonest first.
func (c *claim) early(t *taking, n int) (keys []int64, err error) {
	if t.ordered {
		return c.earlyHead(t)
	}
	err = c.query(func(r row) error {
		keys = append(keys, r.int(0))
		return nil
	}, `SELECT key FROM (
			SELECT key, next_at, trigger FROM webhook_delivery INDEXED BY webhook_delivery_pending
			WHERE state = 0 AND endpoint = ? AND next_at > ? AND owner IS NULL ORDER BY next_at, key LIMIT ?)
		WHERE trigger = ? ORDER BY next_at, key LIMIT ?`,
		t.endpoint, c.now, int64(earlyLook), int64(triggerAutomatic), int64(n))
	return keys, err
}

// earlyHead is early for an ordered endpoint: its first delivery, if nothing of it is leased.
func (c *claim) earlyHead(t *taking) ([]int64, error) {
	d, _, err := c.first(t.endpoint, t.firstKey, c.now)
	if err != nil || d == nil || d.owner != 0 || d.trigger != triggerAutomatic || d.nextAt <= c.now ||
		slices.Contains(c.keys, d.key) {
		return nil, err
	}
	leased, err := c.int(`SELECT EXISTS (SELECT 1 FROM webhook_delivery INDEXED BY webhook_delivery_pending
			WHERE state = 0 AND endpoint = ? AND next_at > ? AND owner IS NOT NULL)
		OR EXISTS (SELECT 1 FROM webhook_delivery INDEXED BY webhook_delivery_late
			WHERE state > 0 AND owner IS NOT NULL AND endpoint = ? AND next_at > ?)`,
		t.endpoint, c.now, t.endpoint, c.now)
	if err != nil || leased != 0 {
		return nil, err
	}
	return []int64{d.key}, nil
}

// correctEarly puts the heads right that takeEarly moved.
func (c *claim) correctEarly() error {
	for _, t := range c.ahead {
		if t.gave > 0 {
			if err := c.rebuild(t.endpoint, false, t.ordered); err != nil {
				return err
			}
		}
	}
	return nil
}
