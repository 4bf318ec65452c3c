package postgres

import (
	"slices"

	"github.com/outhook/webhook/internal/id"
)

// delivery is a row of the queue. Times are microseconds or none.
type delivery struct {
	key, rest, event, endpoint                  int64
	tenant, typ                                 string
	state                                       int64
	nextAt, dueAt, leasedAt                     int64
	owner                                       string
	lease, settled                              int64
	attempts, failed, uncharged, deferrals      int64
	trigger                                     int64
	bulk                                        string
	lastAt, lastStatus                          int64
	lastCode                                    string
	lastError                                   []byte
	failureCode                                 string
	expiresAt, createdAt, updatedAt, finishedAt int64

	queued     bool  // there is a row of it in queue
	stood      entry // that row
	counted    int64 // the state it is counted as; uncounted: it is pending, and in a note
	dirty      bool
	remembered bool // not read: as it went in
}

const uncounted = -1

// entry is a delivery's row of queue. It has one while it is pending or leased, if it was not handed over.
type entry struct {
	there        bool
	nextAt       int64
	leased, over bool
}

func (d *delivery) entry() entry {
	if d.nextAt == none || d.state != pending && d.owner == "" {
		return entry{}
	}
	return entry{true, d.nextAt, d.owner != "", d.state != pending}
}

var deliveryColumns = `d.key, d.rest, d.event, d.endpoint, d.tenant, d.type, d.state, d.lease, d.settled, d.attempts,
	d.failed, d.uncharged, d.deferrals, d.trigger, d.created_at, d.updated_at, d.last_error, ` +
	nullable("d.next_at", "d.due_at", "d.leased_at", "d.last_at", "d.last_status", "d.expires_at", "d.finished_at") + `, ` +
	optional("d.owner", "d.bulk", "d.last_code", "d.failure_code") + `, d.queued`

func scanDelivery(r row, more ...any) (*delivery, error) {
	d := &delivery{}
	err := r.Scan(append([]any{&d.key, &d.rest, &d.event, &d.endpoint, &d.tenant, &d.typ, &d.state, &d.lease, &d.settled,
		&d.attempts, &d.failed, &d.uncharged, &d.deferrals, &d.trigger, &d.createdAt, &d.updatedAt, &d.lastError,
		&d.nextAt, &d.dueAt, &d.leasedAt, &d.lastAt, &d.lastStatus, &d.expiresAt, &d.finishedAt,
		&d.owner, &d.bulk, &d.lastCode, &d.failureCode, &d.queued}, more...)...)
	d.counted = d.state
	if d.queued {
		d.stood = d.entry()
	} else if d.state == pending {
		d.counted = uncounted
	}
	return d, err
}

func (d *delivery) id() string { return id.Join(id.Delivery, d.key, d.rest) }

// leased reports whether a lease is running, be the delivery pending or canceled under way.
func (d *delivery) leased(now int64) bool { return d.owner != "" && d.nextAt > now }

// plainTrigger takes back that a claim came from a release: the next one will see for itself.
func (d *delivery) plainTrigger() {
	if d.trigger != triggerUnpause {
		return
	}
	d.trigger = triggerAutomatic
	if d.attempts == 0 {
		d.trigger = triggerInitial
	}
}

// end gives the delivery a final state. A lease that is running stays: its request may still succeed.
// A second success leaves the delivery ended when it was.
func (d *delivery) end(state int64, code string, now int64) {
	if d.state != succeeded {
		d.finishedAt = now
	}
	d.state, d.failureCode, d.updatedAt, d.dueAt = state, code, now, none
	if d.owner == "" {
		d.nextAt = none
	}
}

// lockDeliveries reads rows and locks them, in the order of their keys as everybody does.
func (q *session) lockDeliveries(keys []int64) (map[int64]*delivery, error) {
	rows := make(map[int64]*delivery, len(keys))
	if len(keys) == 0 {
		return rows, nil
	}
	return rows, q.query(func(r row) error {
		d, err := scanDelivery(r)
		rows[d.key] = d
		return err
	}, `SELECT `+deliveryColumns+` FROM webhook.delivery d WHERE key = ANY($1::bigint[]) ORDER BY key FOR UPDATE`, keys)
}

// existing tells which deliveries are there.
func (q *session) existing(keys []int64) (map[int64]bool, error) {
	has := make(map[int64]bool, len(keys))
	return has, q.query(func(r row) error {
		var key int64
		err := r.Scan(&key)
		has[key] = true
		return err
	}, `SELECT key FROM webhook.delivery WHERE key = ANY($1::bigint[])`, keys)
}

// saver gathers what changed of deliveries, and what that means for the queue. Their rows are locked.
type saver struct {
	rows, dropped, moved, added gathered
}

func newSaver() *saver {
	return &saver{
		rows: gathered{form: saveDeliveries}, dropped: gathered{form: dropEntries},
		moved: gathered{form: moveEntries}, added: gathered{form: insertEntries},
	}
}

// What can change of a delivery. Columns that are in an index come as they were, nearly always, and then
// the update writes no index.
var saveDeliveries = updating("webhook.delivery",
	`key state next_at? due_at? owner:text? leased_at? lease settled attempts failed uncharged deferrals trigger
	bulk:text? last_at? last_status? last_code:text? last_error:blob failure_code:text? updated_at finished_at?
	ended_badly:truth queued:truth`, 1)

var insertEntries = inserting("webhook.queue", `endpoint next_at key tenant:text leased:truth over:truth expires_at?`,
	"ON CONFLICT DO NOTHING")

var entryFields = fieldsOf(`endpoint next_at key`)

var dropEntries = &form{entryFields, `DELETE FROM webhook.queue t USING ` + located("webhook.queue", entryFields, 3, "") +
	` WHERE t.ctid = u.place`}

var moveFields = fieldsOf(`endpoint next_at key to_at leased:truth over:truth`)

var moveEntries = &form{moveFields, `UPDATE webhook.queue t SET next_at = u.to_at, leased = u.leased, over = u.over
	FROM ` + located("webhook.queue", moveFields, 3, "") + ` WHERE t.ctid = u.place`}

func (s *saver) save(d *delivery) {
	lastError := d.lastError
	if len(lastError) == 0 {
		lastError = nil
	}
	s.rows.add(d.key, d.state, d.nextAt, d.dueAt, d.owner, d.leasedAt, d.lease, d.settled, d.attempts, d.failed,
		d.uncharged, d.deferrals, d.trigger, d.bulk, d.lastAt, d.lastStatus, d.lastCode, lastError, d.failureCode,
		d.updatedAt, d.finishedAt, d.state >= exhausted, d.entry().there)
	s.enter(d)
	d.dirty = false
}

// enter brings the queue in line.
func (s *saver) enter(d *delivery) {
	was, is := d.stood, d.entry()
	d.stood, d.queued = is, is.there
	switch {
	case was == is:
	case was.there && is.there && !was.over:
		s.moved.add(d.endpoint, was.nextAt, d.key, is.nextAt, is.leased, is.over)
	default: // Prune may have dropped what was over
		if was.there {
			s.dropped.add(d.endpoint, was.nextAt, d.key)
		}
		if is.there {
			s.added.add(d.endpoint, is.nextAt, d.key, d.tenant, is.leased, is.over, d.expiresAt)
		}
	}
}

func (s *saver) statements() (list []*statement) {
	for _, g := range []*gathered{&s.rows, &s.dropped, &s.moved, &s.added} {
		if g.n > 0 {
			list = append(list, g.statement())
		}
	}
	return list
}

func keysSorted(list []*delivery) []int64 {
	keys := make([]int64, len(list))
	for i, d := range list {
		keys[i] = d.key
	}
	slices.Sort(keys)
	return keys
}
