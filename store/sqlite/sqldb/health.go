package sqldb

import (
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// health is an endpoint's, read and perhaps changed by a commit.
type health struct {
	webhook.EndpointHealth
	changed bool
	held    bool
	ordered bool
}

func (c *commit) readHealth() error {
	c.health = map[int64]*health{}
	keys := make([]int64, 0, len(c.rows))
	for _, d := range c.rows {
		if _, ok := c.health[d.endpoint]; !ok {
			c.health[d.endpoint] = &health{}
			keys = append(keys, d.endpoint)
		}
	}
	return inKeys(keys, func(marks string, args []any) error {
		return c.query(func(r row) error {
			h := c.health[r.int(0)]
			h.EndpointHealth, h.held, h.ordered = scanHealth(r, 3), r.int(1) != 0, r.int(2) != 0
			return nil
		}, `SELECT num, state > 0, ordered, `+healthColumns+` FROM webhook_endpoint WHERE num IN (`+marks+`)`, args...)
	})
}

const healthColumns = `failing_since, failures, exhausted, last_success_at, last_failure_at`

func scanHealth(r row, i int) webhook.EndpointHealth {
	return webhook.EndpointHealth{
		FailingSince: r.time(i), Failures: r.int(i + 1), Exhausted: r.int(i + 2),
		LastSuccessAt: r.time(i + 3), LastFailureAt: r.time(i + 4),
	}
}

// observe adds an attempt to the endpoint's health and hours. Interrupted ones say nothing about the
// endpoint, and canceled ones nothing about its health.
func (c *commit) observe(endpoint int64, a *webhook.DeliveryAttempt, exhausted bool) {
	c.stats.attempt(endpoint, a)
	h := c.health[endpoint]
	was := h.EndpointHealth
	switch a.Status {
	case webhook.AttemptFailed:
		if h.FailingSince.IsZero() {
			h.FailingSince = whole(a.StartedAt)
		}
		h.Failures++
		h.LastFailureAt = later(h.LastFailureAt, whole(a.CompletedAt))
		if exhausted {
			h.Exhausted++
		}
	case webhook.AttemptSucceeded:
		h.FailingSince, h.Failures, h.Exhausted = time.Time{}, 0, 0
		h.LastSuccessAt = later(h.LastSuccessAt, a.CompletedAt.Truncate(time.Minute).UTC())
	}
	h.changed = h.changed || h.EndpointHealth != was
}

func (c *commit) saveHealth() error {
	for _, num := range sortedKeys(c.health) {
		h := c.health[num]
		if h.ordered {
			if err := c.unblock(num); err != nil {
				return err
			}
		}
		if !h.changed {
			continue
		}
		if err := c.exec(`UPDATE webhook_endpoint SET failing_since = ?, failures = ?, exhausted = ?,
			last_success_at = ?, last_failure_at = ? WHERE num = ?`,
			micro(h.FailingSince), h.Failures, h.Exhausted, micro(h.LastSuccessAt), micro(h.LastFailureAt), num,
		); err != nil {
			return err
		}
	}
	for i := range c.batch.Outcomes {
		key, rest, ok := id.Split(id.Delivery, c.batch.Outcomes[i].DeliveryID)
		if d := c.rows[key]; ok && d != nil && d.rest == rest {
			c.result.Outcomes[i].Health = c.health[d.endpoint].EndpointHealth
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func whole(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return fromMicro(t.UnixMicro())
}
