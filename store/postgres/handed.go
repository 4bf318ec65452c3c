package postgres

import (
	"slices"
	"sync"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// handed is what this process stored already leased, to be delivered by itself at once. Its rows are not in
// the queue: one note names all of a commit. If every one succeeds, the note is deleted, and neither a queue
// nor a lock was needed; else whoever claims enters the rest into the queue when the lease ends.
type handed struct {
	mu        sync.Mutex
	now, last map[int64]*first // by key; last is the map before now
	done      []*handedNote    // that nothing is left of, and that still stand
}

// first is a delivery's row as it went in.
type first struct {
	key, rest, event, endpoint int64
	tenant                     string
	created                    int64
	note                       *handedNote
}

// handedNote is the note of one commit. What is not constant is guarded by the mutex of handed.
type handedNote struct {
	at, id int64
	left   int  // deliveries of which nothing else is on record yet
	over   bool // it is deleted
}

// maxHanded is when the older half is forgotten; their notes then stay until the lease ends. A dispatcher
// has a few thousand under way.
const maxHanded = 16384

func (h *handed) put(list []*first) {
	if len(list) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now == nil || len(h.now) >= maxHanded {
		h.now, h.last = make(map[int64]*first, len(list)), h.now
	}
	for _, f := range list {
		h.now[f.key] = f
	}
}

func (h *handed) get(key int64) *first {
	if f := h.now[key]; f != nil {
		return f
	}
	return h.last[key]
}

// find returns the deliveries that plainly succeeded under their first lease, as their rows must be if nobody
// else has touched them, and the keys of those that must be read.
func (h *handed) find(outcomes []webhook.Outcome, rows map[int64]*delivery) (unknown []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range outcomes {
		o := &outcomes[i]
		key, rest, ok := id.Split(id.Delivery, o.DeliveryID)
		if !ok || rows[key] != nil {
			continue
		}
		f := h.get(key)
		if f == nil || f.rest != rest || !plainSuccess(o) {
			unknown = append(unknown, key)
			continue
		}
		rows[key] = &delivery{
			key: key, rest: rest, event: f.event, endpoint: f.endpoint, tenant: f.tenant, createdAt: f.created,
			owner: unread, lease: 1, counted: uncounted, remembered: true,
			nextAt: none, dueAt: none, leasedAt: none, lastAt: none, lastStatus: none, expiresAt: none, finishedAt: none,
		}
	}
	return unknown
}

// unread is the owner of a lease that was not read.
const unread = "?"

func plainSuccess(o *webhook.Outcome) bool {
	a := o.Attempt
	return o.Lease == 1 && a != nil && a.Status == webhook.AttemptSucceeded && a.StatusCode != nil && a.ErrorCode == "" &&
		o.State == webhook.StateSucceeded && o.FailureCode == "" && o.Failed == 0 && o.Uncharged == 0 && o.Deferrals == 0
}

// over returns the notes that have nothing left once these deliveries are on record, and those that nothing
// is left of since several commits took the last together.
func (h *handed) over(keys []int64) (notes []*handedNote) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := map[*handedNote]int{}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		if f := h.get(key); f != nil {
			left[f.note]++
			if left[f.note] == f.note.left {
				notes = append(notes, f.note)
			}
		}
	}
	return append(notes, h.done...)
}

// forget takes deliveries as on record, and notes as deleted.
func (h *handed) forget(keys []int64, over []*handedNote) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range over {
		n.over = true
	}
	h.done = slices.DeleteFunc(h.done, func(n *handedNote) bool { return n.over })
	for _, key := range keys {
		if f := h.get(key); f != nil {
			if f.note.left--; f.note.left == 0 && !f.note.over {
				h.done = append(h.done, f.note)
			}
			delete(h.now, key)
			delete(h.last, key)
		}
	}
}

// deleteNotes leaves alone what a Claim is entering at this moment.
func deleteNotes(over []*handedNote) []*statement {
	if len(over) == 0 {
		return nil
	}
	var ats, ids []int64
	for _, n := range over {
		ats, ids = append(ats, n.at), append(ids, n.id)
	}
	return []*statement{{sql: `DELETE FROM webhook.note WHERE ctid = ANY(ARRAY(SELECT n.ctid
		FROM unnest($1::bigint[], $2::bigint[]) AS u(at, id) CROSS JOIN LATERAL (
			SELECT ctid FROM webhook.note WHERE at = u.at AND id = u.id FOR UPDATE SKIP LOCKED OFFSET 0) n))`, args: []any{ats, ids}}}
}

// endFirst writes the success of deliveries that were handed over, if they are as they went in; it divides by
// zero if one is not.
var endFirst = `WITH done AS (UPDATE webhook.delivery t SET state = 1, attempts = 1, trigger = 1, next_at = NULL, due_at = NULL, owner = NULL,
	leased_at = NULL, last_at = u.last_at, last_status = u.last_status, updated_at = $4, finished_at = $4
	FROM ` + located("webhook.delivery", fieldsOf("key last_at last_status"), 1, " AND lease = 1 AND state = 0 AND NOT queued") + `
	WHERE t.ctid = u.place RETURNING 1)
	SELECT 1 / (count(*) = cardinality($1::bigint[]))::int FROM done`

// handedColumns are the columns of endFirst's rows.
type handedColumns struct{ keys, lastAt, lastStatus []int64 }

func (h *handedColumns) add(d *delivery) {
	h.keys, h.lastAt, h.lastStatus = append(h.keys, d.key), append(h.lastAt, d.lastAt), append(h.lastStatus, d.lastStatus)
}

func (h *handedColumns) statement(now int64) *statement {
	return &statement{sql: endFirst, args: []any{h.keys, h.lastAt, h.lastStatus, now},
		scan: func(row) error { return nil }}
}

// enqueue enters deliveries into the queue that were handed over and have come to nothing else. Their rows
// are locked in the order of their keys.
func (q *session) enqueue(keys []int64, sums stats) error {
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	entries, found := gathered{form: insertEntries}, []int64(nil)
	if err := q.query(func(r row) error {
		d, err := scanDelivery(r)
		if err != nil || d.queued {
			return err
		}
		found = append(found, d.key)
		e := d.entry()
		entries.add(d.endpoint, e.nextAt, d.key, d.tenant, e.leased, false, d.expiresAt)
		sums.count(d)
		return nil
	}, `SELECT `+deliveryColumns+` FROM webhook.delivery d WHERE key = ANY($1::bigint[]) AND state = 0
		ORDER BY key FOR UPDATE`, keys); err != nil || len(found) == 0 {
		return err
	}
	return q.run(entries.statement(), &statement{
		sql: `UPDATE webhook.delivery SET queued = true WHERE key = ANY($1::bigint[])`, args: []any{found}})
}

// enqueueOf enters what is handed over of an endpoint that becomes ordered: its order is kept by the queue.
func (q *session) enqueueOf(endpoint int64) error {
	var keys []int64
	if err := q.query(func(r row) error {
		var key int64
		err := r.Scan(&key)
		keys = append(keys, key)
		return err
	}, `SELECT d.key FROM webhook.note n CROSS JOIN LATERAL unnest(n.handed) AS h(key)
			CROSS JOIN LATERAL (SELECT key FROM webhook.delivery WHERE key = h.key AND endpoint = $1 OFFSET 0) d
		WHERE $1 = ANY(n.endpoint)`, endpoint); err != nil {
		return err
	}
	sums := stats{}
	if err := q.enqueue(keys, sums); err != nil {
		return err
	}
	q.last = append(q.last, sums.statements(q)...)
	return nil
}
