package sqldb

import (
	"net/url"
	"slices"

	"github.com/outhook/webhook"
)

// lease marks what was taken: at once where nothing but the lease changes, else one by one.
func (c *claim) lease() error {
	owner, err := c.intern(c.request.Owner)
	if err != nil {
		return err
	}
	found := make(map[int64]*delivery, len(c.keys))
	if err := c.leasePlain(owner, found); err != nil {
		return err
	}
	if len(found) < len(c.keys) {
		if err := c.leaseOthers(owner, found); err != nil {
			return err
		}
	}
	c.taken = make([]*delivery, len(c.keys))
	for i, key := range c.keys {
		c.taken[i] = found[key]
	}
	return nil
}

// leasePlain leases what has no lease that ran out and was not let go by a release of its endpoint.
func (c *claim) leasePlain(owner int64, found map[int64]*delivery) error {
	released := int64(none)
	for _, t := range c.by {
		released = max(released, t.releasedAt)
	}
	return inKeys(c.keys, func(marks string, keys []any) error {
		return c.query(func(r row) error {
			d := &delivery{
				key: r.int(0), rest: r.int(1), event: r.int(2), dueAt: r.int(3), lease: r.int(4), attempts: r.int(5),
				failed: r.int(6), uncharged: r.int(7), deferrals: r.int(8), trigger: r.int(9), bulk: r.int(10),
				createdAt: r.int(11),
			}
			found[d.key] = d
			return nil
		}, `UPDATE webhook_delivery SET next_at = ?, owner = ?, leased_at = ?, updated_at = ?, lease = lease + 1
			WHERE key IN (`+marks+`) AND owner IS NULL AND due_at > ?
			RETURNING key, rest, event, due_at, lease, attempts, failed, uncharged, deferrals, trigger, bulk, created_at`,
			append(append([]any{c.until, owner, c.now, c.now}, keys...), released)...)
	})
}

// leaseOthers leases what is left: it records attempts that were lost, and marks what a release let go.
func (c *claim) leaseOthers(owner int64, found map[int64]*delivery) error {
	var keys []int64
	for _, key := range c.keys {
		if found[key] == nil {
			keys = append(keys, key)
		}
	}
	rows := make(map[int64]*delivery, len(keys))
	if err := c.deliveriesByKey(keys, rows); err != nil {
		return err
	}
	attempts := inserter{inserts: insertAttempts}
	for i, key := range c.keys {
		d := rows[key]
		if d == nil {
			continue
		}
		found[key] = d
		if d.owner != 0 {
			if err := c.interrupt(&attempts, d, c.by[i]); err != nil {
				return err
			}
		}
		if (d.trigger == triggerInitial || d.trigger == triggerAutomatic) && d.dueAt <= c.by[i].releasedAt {
			d.trigger = triggerUnpause
		}
		d.owner, d.leasedAt, d.nextAt, d.updatedAt = owner, c.now, c.until, c.now
		d.lease++
		if err := c.save(d); err != nil {
			return err
		}
	}
	if all, err := attempts.flush(c.session); err != nil || !all {
		return errOr(err, func() error { return errTaken })
	}
	return nil
}

// maxUncharged is how many attempts in a row go uncharged; those after are charged, so that a
// delivery that kills the process ends.
const maxUncharged = 10

// interrupt records the attempt of a lease that ran out.
func (c *claim) interrupt(in *inserter, d *delivery, t *taking) error {
	if d.uncharged < maxUncharged {
		d.uncharged++
	} else {
		d.failed++
	}
	bulk, err := c.name(d.bulk)
	if err != nil {
		return err
	}
	target := ""
	if _, err := c.one(func(r row) { target = r.str(0) }, `SELECT url FROM webhook_endpoint WHERE num = ?`, d.endpoint); err != nil {
		return err
	}
	a := webhook.DeliveryAttempt{
		ID: c.request.NewAttemptID(), Trigger: member(triggers, d.trigger), BulkRetryID: bulk,
		Status: webhook.AttemptInterrupted, Method: "POST", URL: withoutUser(target),
		ErrorCode: webhook.CodeInterrupted, Error: webhook.InterruptedError,
		StartedAt: fromMicro(d.leasedAt), CompletedAt: fromMicro(c.now), DurationMS: (c.now - d.leasedAt) / 1000,
		CreatedAt: fromMicro(c.now), UpdatedAt: fromMicro(c.now),
		AttemptNumber: int(d.attempts) + 1, DeliveryID: d.id(), EndpointID: t.endpointID,
	}
	rec := &record{delivery: d, lease: d.lease, number: d.attempts + 1, given: &a, lost: true}
	d.attempts++
	code, err := c.addAttempt(in, rec, c.now)
	if err != nil {
		return err
	}
	d.summarise(rec, code)
	d.trigger, d.bulk = triggerAutomatic, 0
	c.result.Interrupted = append(c.result.Interrupted, a)
	return nil
}

// withoutUser removes user information from a URL.
func withoutUser(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	if u.User == nil {
		return raw
	}
	u.User = nil
	return u.String()
}

// addEvents completes what is returned with the events of the deliveries.
func (c *claim) addEvents() error {
	var keys []int64
	for _, d := range c.taken {
		keys = append(keys, d.event)
	}
	slices.Sort(keys)
	events, err := c.events(slices.Compact(keys))
	if err != nil {
		return err
	}
	byDelivery := map[string]*event{}
	for i, d := range c.taken {
		e := events[d.event]
		if e == nil {
			e = &event{} // a damaged database; the dispatcher finds the payload missing
		}
		bulk, err := c.name(d.bulk)
		if err != nil {
			return err
		}
		byDelivery[d.id()] = e
		c.result.Claims = append(c.result.Claims, webhook.Claim{
			DeliveryID: d.id(), EndpointID: c.by[i].endpointID, Event: e.Event,
			Lease: d.lease, LeaseUntil: fromMicro(c.until), AttemptNumber: int(d.attempts) + 1,
			Failed: int(d.failed), Uncharged: int(d.uncharged), Deferrals: int(d.deferrals),
			Trigger: member(triggers, d.trigger), BulkRetryID: bulk,
			DueAt: fromMicro(d.dueAt), CreatedAt: fromMicro(d.createdAt),
		})
	}
	for i := range c.result.Interrupted {
		a := &c.result.Interrupted[i]
		e := byDelivery[a.DeliveryID]
		a.TenantID, a.EventID, a.EventType = e.TenantID, e.ID, e.Type
	}
	return nil
}
