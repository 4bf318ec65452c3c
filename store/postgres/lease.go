package postgres

import (
	"net/url"
	"slices"

	"github.com/outhook/webhook"
)

// lease locks what was taken and marks it: at once where nothing but the lease changes, else one by one.
// Rows that somebody else is changing at this moment are left out.
func (c *claim) lease() error {
	if len(c.keys) == 0 {
		return nil
	}
	found := make(map[int64]*delivery, len(c.keys))
	if err := c.query(func(r row) error {
		d, err := scanDelivery(r)
		if d.nextAt <= c.now || c.early[d.key] && d.owner == "" {
			found[d.key] = d
		}
		return err
	}, `SELECT `+deliveryColumns+` FROM webhook.delivery d WHERE key = ANY($1::bigint[]) AND state = 0
		ORDER BY key FOR UPDATE SKIP LOCKED`, c.keys); err != nil {
		return err
	}
	save, attempts := newSaver(), gathered{form: insertAttempts.asking}
	var plain, events []int64
	by := c.by
	c.by = nil
	for i, key := range c.keys {
		d, t := found[key], by[i]
		if d == nil {
			continue
		}
		c.taken, c.by, events = append(c.taken, d), append(c.by, t), append(events, d.event)
		released := (d.trigger == triggerInitial || d.trigger == triggerAutomatic) && d.dueAt <= t.releasedAt
		lost := d.owner != ""
		if lost {
			if err := c.interrupt(&attempts, d, t); err != nil {
				return err
			}
			released = (d.trigger == triggerInitial || d.trigger == triggerAutomatic) && d.dueAt <= t.releasedAt
		}
		if released {
			d.trigger = triggerUnpause
		}
		d.owner, d.leasedAt, d.nextAt, d.updatedAt = c.request.Owner, c.now, c.until, c.now
		d.lease++
		if released || lost {
			save.save(d)
		} else {
			plain = append(plain, key)
			save.enter(d)
		}
	}
	return c.writeLeases(save, &attempts, plain, events)
}

func (c *claim) writeLeases(save *saver, attempts *gathered, plain, eventKeys []int64) error {
	list := save.statements()
	if len(plain) > 0 {
		list = append(list, &statement{sql: `UPDATE webhook.delivery SET next_at = $2, owner = $3, leased_at = $4, updated_at = $4,
			lease = lease + 1 WHERE key = ANY($1::bigint[])`, args: []any{plain, c.until, c.request.Owner, c.now}})
	}
	want, insert := int64(attempts.n), (*statement)(nil)
	if want > 0 {
		insert = attempts.statement()
		list = append(list, insert)
	}
	slices.Sort(eventKeys)
	events := make(map[int64]*event, len(eventKeys))
	if len(eventKeys) > 0 {
		list = append(list, c.readEvents(slices.Compact(eventKeys), events))
	}
	if err := c.session.run(list...); err != nil {
		return err
	}
	if insert != nil && insert.changed != want {
		return errTaken
	}
	c.report(events)
	return nil
}

// maxUncharged is how many attempts in a row go uncharged; those after are charged, so that a
// delivery that kills the process ends.
const maxUncharged = 10

// interrupt records the attempt of a lease that ran out.
func (c *claim) interrupt(in *gathered, d *delivery, t *taking) error {
	if d.uncharged < maxUncharged {
		d.uncharged++
	} else {
		d.failed++
	}
	target := ""
	if _, err := c.one(`SELECT url FROM webhook.endpoint WHERE num = $1`, []any{d.endpoint}, &target); err != nil {
		return err
	}
	a := webhook.DeliveryAttempt{
		ID: c.request.NewAttemptID(), Trigger: member(triggers, d.trigger), BulkRetryID: d.bulk,
		Status: webhook.AttemptInterrupted, Method: "POST", URL: withoutUser(target),
		ErrorCode: webhook.CodeInterrupted, Error: webhook.InterruptedError,
		StartedAt: fromMicro(d.leasedAt), CompletedAt: fromMicro(c.now), DurationMS: (c.now - d.leasedAt) / 1000,
		CreatedAt: fromMicro(c.now), UpdatedAt: fromMicro(c.now),
		AttemptNumber: int(d.attempts) + 1, DeliveryID: d.id(), EndpointID: t.endpointID, TenantID: d.tenant, EventType: d.typ,
	}
	rec := &record{delivery: d, lease: d.lease, number: d.attempts + 1, given: &a, lost: true}
	d.attempts++
	if !addAttempt(in, rec, c.now) {
		return errTaken
	}
	d.summarise(rec)
	d.trigger, d.bulk = triggerAutomatic, ""
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

// report completes what is returned with the events of the deliveries.
func (c *claim) report(events map[int64]*event) {
	eventOf := map[string]string{}
	for i, d := range c.taken {
		e := events[d.event]
		if e == nil {
			e = &event{} // a damaged database; the dispatcher finds the payload missing
		}
		eventOf[d.id()] = e.ID
		c.result.Claims = append(c.result.Claims, webhook.Claim{
			DeliveryID: d.id(), EndpointID: c.by[i].endpointID, Event: e.Event,
			Lease: d.lease, LeaseUntil: fromMicro(c.until), AttemptNumber: int(d.attempts) + 1,
			Failed: int(d.failed), Uncharged: int(d.uncharged), Deferrals: int(d.deferrals),
			Trigger: member(triggers, d.trigger), BulkRetryID: d.bulk,
			DueAt: fromMicro(d.dueAt), CreatedAt: fromMicro(d.createdAt),
		})
	}
	for i := range c.result.Interrupted {
		a := &c.result.Interrupted[i]
		a.EventID = eventOf[a.DeliveryID]
	}
}
