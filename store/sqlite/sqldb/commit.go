package sqldb

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// errAgain: a batch was not as plain as it looked, nothing was stored; take the careful way.
var errAgain = errors.New("sqlite: not a plain batch")

// Commit implements [webhook.Store]. The first try takes for granted that everything is new and plain,
// writes many rows to a statement and counts them. If that fails, the batch is rolled back and every
// group and outcome is looked at before it is written.
func (s *Store) Commit(ctx context.Context, b webhook.Batch) (r webhook.Result, err error) {
	var done *commit
	for _, careful := range []bool{false, true} {
		err = s.write(ctx, func(q *session) error {
			c := newCommit(q, &b, careful)
			if err := c.run(); err != nil {
				return err
			}
			r = c.result
			done = c
			return nil
		})
		if !errors.Is(err, errAgain) {
			break
		}
	}
	if err != nil {
		return webhook.Result{}, err
	}
	if !s.bound {
		s.handed.put(done.folded)
		s.handed.settled(done.unfolded)
	}
	return r, nil
}

// commit is one try to store a batch.
type commit struct {
	*session
	batch   *webhook.Batch
	careful bool
	now     int64
	result  webhook.Result

	events, deliveries inserter
	attempts           inserter
	heads              heads
	stats              stats
	health             map[int64]*health
	rows               map[int64]*delivery // of outcomes, by key
	list               *handedList         // of what is handed over
	folded             []first             // in that list
	unfolded           []first             // from earlier ones: they have rows now
	earliest           int64               // key of an attempt that has its delivery's; newest: there is none
}

func newCommit(q *session, b *webhook.Batch, careful bool) *commit {
	return &commit{
		session: q, batch: b, careful: careful, now: b.Now.UnixMicro(),
		events: inserter{inserts: insertEvents}, deliveries: inserter{inserts: insertDeliveries},
		attempts: inserter{inserts: insertAttempts},
		stats:    stats{},
		earliest: newest,
		result: webhook.Result{
			Sends:    make([]webhook.SendResult, len(b.Sends)),
			Outcomes: make([]webhook.OutcomeResult, len(b.Outcomes)),
		},
	}
}

func (c *commit) run() (err error) {
	if c.result.Generation, err = c.generation(); err != nil {
		return err
	}
	for i := range c.batch.Sends {
		if err := c.send(i); err != nil {
			return err
		}
	}
	if err := c.flushSends(); err != nil {
		return err
	}
	if err := c.flushFolded(); err != nil {
		return err
	}
	if err := c.outcomes(); err != nil {
		return err
	}
	for _, r := range c.batch.Returned {
		if err := c.giveBack(r); err != nil {
			return err
		}
	}
	if err := c.heads.flush(c.session); err != nil {
		return err
	}
	return c.stats.flush(c.session)
}

func (c *commit) send(i int) error {
	g := &c.batch.Sends[i]
	p := group{commit: c, generation: g.Generation, receipts: make([]webhook.Receipt, 0, len(g.Events))}
	for j := range g.Events {
		status, err := p.add(&g.Events[j])
		if err != nil {
			return err
		}
		if status != webhook.SendStored {
			c.result.Sends[i] = webhook.SendResult{Status: status}
			if status == webhook.SendConflict {
				c.result.Sends[i].ConflictAt = j
			}
			return nil
		}
	}
	if len(p.fresh) > 0 && g.Generation != c.result.Generation {
		if !c.careful {
			return errAgain // it may be a repetition
		}
		c.result.Sends[i] = webhook.SendResult{Status: webhook.SendStale}
		return nil
	}
	for k := range p.fresh {
		if err := c.insert(&p.fresh[k]); err != nil {
			return err
		}
	}
	c.result.Sends[i] = webhook.SendResult{Status: webhook.SendStored, Receipts: p.receipts}
	if c.careful {
		return c.flushSends() // so that the next group meets it
	}
	return nil
}

func (c *commit) flushSends() error {
	for _, in := range []*inserter{&c.events, &c.deliveries} {
		all, err := in.flush(c.session)
		if err != nil {
			return err
		}
		if !all {
			if c.careful {
				return fmt.Errorf("rows that were not there stood in the way; the database needs an integrity_check")
			}
			return errAgain
		}
	}
	return nil
}

// group sorts the events of a SendGroup into those to be stored and those that stand already.
type group struct {
	*commit
	generation int64
	receipts   []webhook.Receipt
	fresh      []freshEvent
}

type freshEvent struct {
	*webhook.NewEvent
	ident
	tenant     int64
	deliveries []ident
	missing    []int      // the deliveries to be stored
	replayed   *eventHead // of a replay: the event that stands already
}

func (p *group) add(ev *webhook.NewEvent) (status webhook.SendStatus, err error) {
	f := freshEvent{NewEvent: ev, deliveries: make([]ident, len(ev.Deliveries))}
	var ok bool
	if f.key, f.rest, ok = id.Split(id.Event, ev.Event.ID); !ok {
		return webhook.SendTaken, nil
	}
	for i := range ev.Deliveries {
		d := &f.deliveries[i]
		if d.key, d.rest, ok = id.Split(id.Delivery, ev.Deliveries[i].ID); !ok {
			return webhook.SendTaken, nil
		}
	}
	if ev.Replay {
		return p.replay(&f)
	}
	if f.tenant, err = p.intern(ev.Event.TenantID); err != nil {
		return 0, err
	}
	if p.careful {
		if status, done, err := p.standing(&f); done || err != nil {
			return status, err
		}
	}
	if ev.Event.IdempotencyKey != "" {
		if status, done, err := p.duplicate(&f); done || err != nil {
			return status, err
		}
	}
	f.missing = make([]int, len(f.deliveries))
	for i := range f.missing {
		f.missing[i] = i
	}
	p.fresh = append(p.fresh, f)
	p.receipts = append(p.receipts, receiptOf(ev))
	return webhook.SendStored, nil
}

// standing looks whether the event is in the store already, and its deliveries with it: then it is a
// repetition; some may have been pruned since.
func (p *group) standing(f *freshEvent) (status webhook.SendStatus, done bool, err error) {
	head, err := p.eventHead(f.key)
	if err != nil {
		return 0, false, err
	}
	if head != nil && head.rest != f.rest {
		return webhook.SendTaken, true, nil
	}
	for _, d := range f.deliveries {
		rest, event, found, err := p.deliveryAnywhere(d.key)
		if err != nil {
			return 0, false, err
		}
		switch {
		case !found && head == nil && p.claimed(d.key):
			return webhook.SendTaken, true, nil
		case !found:
		case head == nil || rest != d.rest || event != f.key:
			return webhook.SendTaken, true, nil
		}
	}
	if head == nil {
		for _, other := range p.fresh {
			if other.key == f.key {
				return webhook.SendTaken, true, nil
			}
		}
		return 0, false, nil
	}
	p.receipts = append(p.receipts, receiptOf(f.NewEvent))
	return webhook.SendStored, true, nil
}

// claimed reports whether an earlier event of the group has a delivery with this key.
func (p *group) claimed(key int64) bool {
	for _, other := range p.fresh {
		for _, d := range other.deliveries {
			if d.key == key {
				return true
			}
		}
	}
	return false
}

// duplicate looks for another event of the same idempotency key, in the store or earlier in the batch.
func (p *group) duplicate(f *freshEvent) (status webhook.SendStatus, done bool, err error) {
	for i := range p.fresh {
		other := &p.fresh[i]
		if other.Event.IdempotencyKey == f.Event.IdempotencyKey && other.tenant == f.tenant {
			if !p.careful {
				return 0, false, errAgain // a group before may have taken the key
			}
			return p.answer(f, receiptOf(other.NewEvent), other.Fingerprint)
		}
	}
	key, head, err := p.byIdempotencyKey(f.tenant, f.Event.IdempotencyKey)
	if err != nil || head == nil {
		return 0, false, err
	}
	if !p.careful {
		return 0, false, errAgain // it may be a repetition
	}
	left, err := p.existing(head.deliveries)
	if err != nil {
		return 0, false, err
	}
	return p.answer(f, webhook.Receipt{
		EventID: id.Join(id.Event, key, head.rest), DeliveryIDs: deliveryIDs(left),
	}, head.fingerprint)
}

func (p *group) answer(f *freshEvent, first webhook.Receipt, fingerprint []byte) (webhook.SendStatus, bool, error) {
	if !bytes.Equal(f.Fingerprint, fingerprint) {
		return webhook.SendConflict, true, nil
	}
	first.Duplicate = true
	p.receipts = append(p.receipts, first)
	return webhook.SendStored, true, nil
}

func receiptOf(ev *webhook.NewEvent) webhook.Receipt {
	r := webhook.Receipt{EventID: ev.Event.ID, DeliveryIDs: make([]string, len(ev.Deliveries))}
	for i := range ev.Deliveries {
		r.DeliveryIDs[i] = ev.Deliveries[i].ID
	}
	return r
}

func (c *commit) insert(f *freshEvent) error {
	typ, created, expires := int64(0), f.Event.CreatedAt.UnixMicro(), micro(f.Event.ExpiresAt)
	if f.replayed != nil {
		f.tenant, typ, created, expires = f.replayed.tenant, f.replayed.typ, c.now, f.replayed.expiresAt
		if err := c.extend(f); err != nil {
			return err
		}
	} else {
		var err error
		if typ, err = c.intern(f.Event.Type); err != nil {
			return err
		}
		c.events.addEvent(f.NewEvent, f.ident, f.tenant, typ, f.deliveries)
	}
	for _, i := range f.missing {
		n := &f.Deliveries[i]
		e, err := c.endpoint(c.result.Generation, n.EndpointID)
		if err != nil {
			return err
		}
		if e == nil {
			return &webhook.ItemError{Err: fmt.Errorf("delivery %s: %w", n.ID, endpointNotFound(n.EndpointID))}
		}
		if err := c.insertDelivery(f, f.deliveries[i], n, e, typ, created, expires); err != nil {
			return err
		}
	}
	return nil
}

var insertDeliveries = newTableInserts("webhook_delivery",
	`key, rest, event, endpoint, tenant, type, next_at, due_at, owner, leased_at, lease, created_at, updated_at`,
	`expires_at`)

func (c *commit) insertDelivery(f *freshEvent, d ident, n *webhook.NewDelivery, e *endpointRef, typ, created int64, expires any) error {
	c.stats.add(e.num, 0, pending, 1)
	if folded, err := c.fold(f, d, n, e, typ, created); folded || err != nil {
		return err
	}
	due := n.DueAt.UnixMicro()
	next, owner, leasedAt, lease := due, any(nil), any(nil), int64(0)
	if n.LeasedBy != "" {
		num, err := c.intern(n.LeasedBy)
		if err != nil {
			return err
		}
		next, owner, leasedAt, lease = n.LeaseUntil.UnixMicro(), num, c.now, 1
	}
	c.deliveries.add(d.key, d.rest, f.key, e.num, f.tenant, typ, next, due, owner, leasedAt, lease,
		created, c.now, expires)
	c.heads.lower(e.num, next, !e.enabled, d.key, e.ordered)
	return nil
}
