package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// errAgain: a batch was not as plain as it looked, nothing was stored; take the careful way.
var errAgain = errors.New("postgres: not a plain batch")

// Commit implements [webhook.Store]. The first try takes for granted that IDs are new, and sends all rows of
// a kind in one statement; where nothing need be read before, all goes in one round trip. If that fails, the
// batch is rolled back and what stands in the store already is read before anything is written; that may
// have to be repeated when others write the same at the same time.
func (s *Store) Commit(ctx context.Context, b webhook.Batch) (r webhook.Result, err error) {
	for try := range 5 {
		var busy map[string]bool
		if busy, err = s.busyKeys(ctx, &b); err != nil {
			return webhook.Result{}, err
		}
		var c *commit
		err = s.write(ctx, func(q *session) error {
			c = newCommit(q, &b, busy, try > 0)
			return c.run()
		})
		if err == nil {
			s.handed.forget(c.done, c.over)
			s.handed.put(c.handed)
			c.answerHealth()
			return c.result, nil
		}
		if !errors.Is(err, errAgain) && !isCode(err, codeLockTimeout, codeUnique, codeDivision, codeText) {
			break
		}
	}
	return webhook.Result{}, err
}

// commit is one try to store a batch.
type commit struct {
	*session
	batch   *webhook.Batch
	careful bool
	plain   bool            // nothing is read before all is written
	ask     bool            // whether rows stand already; else a statement fails if one does
	busy    map[string]bool // idempotency keys held by open transactions
	now     int64
	result  webhook.Result
	known   standing

	fresh      []freshEvent
	events     gathered
	deliveries gathered
	entries    gathered
	attempts   gathered
	notes      notes
	stats      stats
	health     map[int64]*health
	rows       map[int64]*delivery // of outcomes and returns, by key
	announce   bool                // something is due, and it is nobody's
	handed     []*first            // deliveries that are handed over
	handNotes  notes               // of those
	done       []int64             // deliveries whose rows were written
	over       []*handedNote       // notes that nothing is left of
	earliest   int64               // key of an attempt that has its delivery's; 0: there is none
}

func newCommit(q *session, b *webhook.Batch, busy map[string]bool, careful bool) *commit {
	// A key that others may have just taken is nothing for the server to log as an error.
	ask := careful || q.s.bound || hasKeys(b)
	events, deliveries := 0, 0
	for i := range b.Sends {
		events += len(b.Sends[i].Events)
		for j := range b.Sends[i].Events {
			deliveries += len(b.Sends[i].Events[j].Deliveries)
		}
	}
	return &commit{
		session: q, batch: b, careful: careful, ask: ask, busy: busy, now: b.Now.UnixMicro(),
		events:     gathered{form: insertEvents.form(ask), expect: events},
		deliveries: gathered{form: insertDeliveries.form(ask), expect: deliveries},
		entries:    gathered{form: insertEntries},
		attempts:   gathered{form: insertAttempts.form(ask), expect: len(b.Outcomes)},
		stats:      stats{}, rows: map[int64]*delivery{}, health: map[int64]*health{},
		result: webhook.Result{
			Sends:    make([]webhook.SendResult, len(b.Sends)),
			Outcomes: make([]webhook.OutcomeResult, len(b.Outcomes)),
		},
	}
}

func hasKeys(b *webhook.Batch) bool {
	for i := range b.Sends {
		for j := range b.Sends[i].Events {
			if b.Sends[i].Events[j].Event.IdempotencyKey != "" {
				return true
			}
		}
	}
	return false
}

func (c *commit) run() error {
	if err := c.prepare(); err != nil {
		return err
	}
	for i := range c.batch.Sends {
		if err := c.send(i); err != nil {
			return err
		}
	}
	for i := range c.fresh {
		if err := c.insert(&c.fresh[i]); err != nil {
			return err
		}
	}
	if err := c.flushSends(); err != nil {
		return err
	}
	if c.meetsItself() {
		if err := c.session.run(c.lockRows(c.rememberRows())...); err != nil {
			return err
		}
	}
	if err := c.outcomes(); err != nil {
		return err
	}
	c.last = append(c.last, c.handedNote()...)
	c.last = append(c.last, c.notes.statements(c.session, c.now, c.announce)...)
	c.over = c.s.handed.over(c.done)
	c.last = append(c.last, deleteNotes(c.over)...)
	c.last = append(c.last, c.stats.statements(c.session)...)
	return nil
}

// prepare reads what all that follows rests on, in one round trip.
func (c *commit) prepare() error {
	list := c.lookUp()
	keys := c.rememberRows()
	if c.plain = len(list)+len(keys) == 0 && c.isPlain(); c.plain {
		for _, d := range c.rows {
			c.health[d.endpoint] = &health{} // an ordered endpoint's deliveries are in the queue, and not remembered
		}
		c.later(c.expectGeneration())
		return nil
	}
	list = append([]*statement{c.readGeneration()}, list...)
	list = append(list, c.lockRows(keys)...)
	if err := c.session.run(list...); err != nil {
		return err
	}
	return c.known.complete(c.session)
}

func (c *commit) isPlain() bool {
	for i := range c.batch.Sends {
		if c.batch.Sends[i].Generation != c.batch.Sends[0].Generation {
			return false
		}
	}
	return !c.ask && len(c.batch.Returned) == 0
}

func (c *commit) readGeneration() *statement {
	return &statement{sql: `SELECT generation FROM webhook.meta`, scan: func(r row) error {
		return r.Scan(&c.result.Generation)
	}}
}

// expectGeneration fails if endpoints have changed since the Sends were matched. The server logs that, so it
// says what it is.
func (c *commit) expectGeneration() *statement {
	s := c.readGeneration()
	if len(c.batch.Sends) > 0 {
		c.result.Generation = c.batch.Sends[0].Generation
		s.sql = `SELECT CASE WHEN generation = $1 THEN generation
			ELSE concat('outhook: endpoints have changed, trying again: ', generation)::bigint END FROM webhook.meta`
		s.args = []any{c.result.Generation}
	}
	return s
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
		c.fresh = append(c.fresh, p.fresh[k])
		c.known.note(&p.fresh[k])
	}
	c.result.Sends[i] = webhook.SendResult{Status: webhook.SendStored, Receipts: p.receipts}
	return nil
}

// flushSends writes what was gathered of new events.
func (c *commit) flushSends() error {
	var list []*statement
	var want []int64
	for _, g := range []*gathered{&c.events, &c.deliveries, &c.entries} {
		if g.n > 0 {
			want = append(want, int64(g.n))
			list = append(list, g.statement())
		}
	}
	return c.write(list, want)
}

// write runs statements that must change so many rows, the first ones. Those that do not ask fail by
// themselves, and need no round trip of their own.
func (c *commit) write(list []*statement, want []int64) error {
	if !c.ask {
		c.later(list...)
		return nil
	}
	if err := c.session.run(list...); err != nil {
		return err
	}
	for i, n := range want {
		if list[i].changed != n {
			return errAgain
		}
	}
	return nil
}

// meetsItself reports whether an outcome is of a delivery that the same batch brings.
func (c *commit) meetsItself() bool {
	for i := range c.batch.Outcomes {
		key, _, ok := id.Split(id.Delivery, c.batch.Outcomes[i].DeliveryID)
		if _, known := c.known.deliveries[key]; ok && known {
			return true
		}
	}
	return false
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
	deliveries []ident
	missing    []int      // the deliveries to be stored
	replayed   *eventHead // of a replay: the event that stands already
}

func identsOf(ev *webhook.NewEvent) (f freshEvent, ok bool) {
	f = freshEvent{NewEvent: ev, deliveries: make([]ident, len(ev.Deliveries))}
	if f.key, f.rest, ok = id.Split(id.Event, ev.Event.ID); !ok {
		return f, false
	}
	for i := range ev.Deliveries {
		d := &f.deliveries[i]
		if d.key, d.rest, ok = id.Split(id.Delivery, ev.Deliveries[i].ID); !ok {
			return f, false
		}
	}
	return f, true
}

func (p *group) add(ev *webhook.NewEvent) (status webhook.SendStatus, err error) {
	f, ok := identsOf(ev)
	if !ok {
		return webhook.SendTaken, nil
	}
	for i := range ev.Deliveries {
		if err := p.mustExist(&ev.Deliveries[i]); err != nil {
			return 0, err
		}
	}
	if ev.Replay {
		return p.replay(&f)
	}
	if status, done := p.standing(&f); done {
		return status, nil
	}
	if ev.Event.IdempotencyKey != "" {
		if p.busy[busyKey(&ev.Event)] {
			return webhook.SendBusy, nil
		}
		if status, done := p.duplicate(&f); done {
			return status, nil
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

func (c *commit) mustExist(n *webhook.NewDelivery) error {
	e, err := c.endpoint(c.result.Generation, n.EndpointID)
	if err == nil && e == nil {
		err = &webhook.ItemError{Err: fmt.Errorf("delivery %s: %w", n.ID, endpointNotFound(n.EndpointID))}
	}
	return err
}

// duplicate looks for another event of the same idempotency key, in the store or earlier in the batch.
func (p *group) duplicate(f *freshEvent) (status webhook.SendStatus, done bool) {
	for i := range p.fresh {
		other := &p.fresh[i]
		if other.Event.IdempotencyKey == f.Event.IdempotencyKey && other.Event.TenantID == f.Event.TenantID {
			return p.answer(f, receiptOf(other.NewEvent), other.Fingerprint)
		}
	}
	head := p.known.keys[busyKey(&f.Event)]
	if head == nil {
		return 0, false
	}
	if head.key == f.key && head.rest == f.rest { // a repetition, met by its key
		p.receipts = append(p.receipts, receiptOf(f.NewEvent))
		return webhook.SendStored, true
	}
	return p.answer(f, webhook.Receipt{
		EventID: id.Join(id.Event, head.key, head.rest), DeliveryIDs: deliveryIDs(head.deliveries),
	}, head.fingerprint)
}

func (p *group) answer(f *freshEvent, first webhook.Receipt, fingerprint []byte) (webhook.SendStatus, bool) {
	if !bytes.Equal(f.Fingerprint, fingerprint) {
		return webhook.SendConflict, true
	}
	first.Duplicate = true
	p.receipts = append(p.receipts, first)
	return webhook.SendStored, true
}

func receiptOf(ev *webhook.NewEvent) webhook.Receipt {
	r := webhook.Receipt{EventID: ev.Event.ID, DeliveryIDs: make([]string, len(ev.Deliveries))}
	for i := range ev.Deliveries {
		r.DeliveryIDs[i] = ev.Deliveries[i].ID
	}
	return r
}

func (c *commit) insert(f *freshEvent) error {
	tenant, typ, created, expires := f.Event.TenantID, f.Event.Type, f.Event.CreatedAt.UnixMicro(), micro(f.Event.ExpiresAt)
	if h := f.replayed; h != nil {
		tenant, typ, created, expires = h.tenant, h.typ, c.now, h.expiresAt
		if err := c.extend(f); err != nil {
			return err
		}
	} else {
		c.addEvent(f)
	}
	for _, i := range f.missing {
		n, d := &f.Deliveries[i], f.deliveries[i]
		e, err := c.endpoint(c.result.Generation, n.EndpointID)
		if err != nil {
			return err
		}
		// An ordered endpoint needs the queue to see what is under way; and whether a transaction of the
		// user's will ever be committed is unknown.
		handed := n.LeasedBy != "" && !e.ordered && !c.s.bound
		due := n.DueAt.UnixMicro()
		next, leasedAt, lease := due, int64(none), int64(0)
		if n.LeasedBy != "" {
			next, leasedAt, lease = n.LeaseUntil.UnixMicro(), c.now, 1
		} else if due <= c.now+soon && e.enabled {
			c.announce = true
		}
		c.deliveries.add(d.key, d.rest, f.key, e.num, tenant, typ, next, due, n.LeasedBy, leasedAt, lease,
			created, c.now, expires, !handed)
		if handed {
			c.handOver(e.num, next, d, f.key, tenant, created)
			continue
		}
		c.entries.add(e.num, next, d.key, tenant, n.LeasedBy != "", false, expires)
		c.notes.lower(e.num, next, d.key, 1, e.ordered)
	}
	return nil
}

var insertDeliveries = insertingNew("webhook.delivery",
	`key rest event endpoint tenant:text type:text next_at due_at owner:text? leased_at? lease created_at updated_at
	expires_at? queued:truth`, "")

func (c *commit) handOver(endpoint, until int64, d ident, event int64, tenant string, created int64) {
	c.handNotes.lower(endpoint, until, d.key, 0, false)
	c.handed = append(c.handed, &first{
		key: d.key, rest: d.rest, event: event, endpoint: endpoint, tenant: tenant, created: created,
	})
}

// handedNote writes the note of what is handed over.
func (c *commit) handedNote() []*statement {
	if len(c.handed) == 0 {
		return nil
	}
	note := &handedNote{left: len(c.handed)}
	keys := make([]int64, len(c.handed))
	for i, f := range c.handed {
		f.note, keys[i] = note, f.key
	}
	s := c.handNotes.insert(false, c.now, keys)
	note.at = s.args[0].(int64)
	s.sql += ` RETURNING id`
	s.scan = func(r row) error { return r.Scan(&note.id) }
	return []*statement{s}
}
