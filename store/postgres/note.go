package postgres

import (
	"encoding/hex"
	"slices"
	"time"
)

// notes gathers what deliveries become claimable when, by endpoint.
type notes struct {
	list []note
	at   map[int64]int // place in list, by endpoint
	now  bool          // to be entered by the next Claim, whatever the times
}

type note struct{ endpoint, nextAt, key, fresh int64 }

const (
	never = 1<<63 - 1
	// longestNote is how far ahead a note may be left lying: until it is entered, its deliveries are counted
	// from it.
	longestNote = int64(30 * time.Second / time.Microsecond)
	second      = int64(time.Second / time.Microsecond)
	// soon is what other processes are told of; what is due later they find by polling.
	soon = second
)

// lower notes that a delivery of an endpoint is claimable from nextAt. The next Claim must know at once of
// those of an ordered endpoint: what is due later may have to go first.
func (n *notes) lower(endpoint, nextAt, key, fresh int64, ordered bool) {
	n.now = n.now || ordered
	if n.at == nil {
		n.at = map[int64]int{}
	}
	i, known := n.at[endpoint]
	if !known {
		n.at[endpoint] = len(n.list)
		n.list = append(n.list, note{endpoint, nextAt, key, fresh})
		return
	}
	x := &n.list[i]
	x.nextAt, x.key, x.fresh = min(x.nextAt, nextAt), min(x.key, key), x.fresh+fresh
}

// unblock makes Claim look at an ordered endpoint, since the delivery that others wait for may have
// ended. From when on the next one may be claimed is for Claim to see; 0 is never too late.
func (n *notes) unblock(endpoint int64) { n.lower(endpoint, 0, never, 0, true) }

// statements writes the notes, and tells other processes when the transaction commits.
func (n *notes) statements(q *session, now int64, announce bool) (list []*statement) {
	if len(n.list) > 0 {
		list = append(list, n.insert(q.s.bound, now, nil))
	}
	if announce {
		list = append(list, q.s.notification()...)
	}
	*n = notes{}
	return list
}

// insert writes one note. Those of what is handed over may lie until the lease ends.
func (n *notes) insert(bound bool, now int64, handed []int64) *statement {
	at := now + longestNote
	if handed != nil {
		at = never
	}
	var columns [4][]int64
	for _, x := range n.list {
		at = min(at, x.nextAt)
		for i, v := range []int64{x.endpoint, x.nextAt, x.key, x.fresh} {
			columns[i] = append(columns[i], v)
		}
	}
	switch {
	case n.now || bound: // when the user's transaction commits is unknown
		at = 0
	case at > now:
		at -= at % second // so that not every note is an occasion of its own
	}
	return &statement{sql: `INSERT INTO webhook.note (at, endpoint, next_at, key, fresh, handed)
		VALUES ($1, $2, $3, $4, $5, $6)`, args: []any{at, columns[0], columns[1], columns[2], columns[3], handed}}
}

func (s *Store) notification() []*statement {
	if s.quiet {
		return nil
	}
	from := s.self
	if s.bound { // only the user knows when it is committed, and he may forget to say so
		from = ""
	}
	return []*statement{{sql: `SELECT pg_notify($1, $2)`, args: []any{s.channel(), from},
		scan: func(row) error { return nil }}}
}

func (s *Store) channel() string { return "outhook_" + hex.EncodeToString(digest(s.schema)[:8]) }

// maxNotes is how many notes one Claim enters.
const maxNotes = 1000

// due reads the notes that are due, the oldest first, and locks them. What another process is at is
// passed over.
func (q *session) dueNotes(now int64) (list []note, ids, handed []int64, err error) {
	var found []enteredNote
	err = q.query(func(r row) error {
		var e enteredNote
		var keys []int64
		err := r.Scan(&e.id, &e.endpoint, &e.nextAt, &e.key, &e.fresh, &keys)
		found, handed = append(found, e), append(handed, keys...)
		return err
	}, `SELECT n.id, x.endpoint, x.next_at, x.key, x.fresh, CASE WHEN x.at = 1 THEN n.handed END
		FROM (SELECT * FROM webhook.note WHERE at <= $1 ORDER BY at, id LIMIT $2 FOR UPDATE SKIP LOCKED) n
		CROSS JOIN LATERAL unnest(n.endpoint, n.next_at, n.key, n.fresh) WITH ORDINALITY AS x(endpoint, next_at, key, fresh, at)`,
		now, int64(maxNotes))
	sum := notes{}
	for _, e := range found {
		if len(ids) == 0 || ids[len(ids)-1] != e.id {
			ids = append(ids, e.id)
		}
		sum.lower(e.endpoint, e.nextAt, e.key, e.fresh, false)
	}
	slices.SortFunc(sum.list, func(a, b note) int { return int(a.endpoint - b.endpoint) })
	return sum.list, ids, handed, err
}

type enteredNote struct {
	id int64
	note
}

// enterNotes moves due notes into the heads and the counters. The heads are written in the order of the
// endpoints, and nothing is locked before them but the notes.
func (q *session) enterNotes(now int64) error {
	list, ids, handed, err := q.dueNotes(now)
	if err != nil || len(ids) == 0 {
		return err
	}
	heads := gathered{form: enterHeads}
	sums := stats{}
	if err := q.enqueue(handed, sums); err != nil {
		return err
	}
	for _, n := range list {
		heads.add(n.endpoint, n.nextAt, n.key)
		sums.add(n.endpoint, 0, pending, n.fresh)
	}
	q.last = append(q.last, heads.statement(), &statement{
		sql: `DELETE FROM webhook.note WHERE at <= $1 AND id = ANY($2::bigint[])`, args: []any{now, ids}})
	q.last = append(q.last, sums.statements(q)...)
	return nil
}

var headFields = fieldsOf(`endpoint next_at first_key`)

// What a note says may be done by now: an endpoint with nothing in the queue gets no head. What is in the
// queue is seen as of this statement, which began after the note was committed.
var enterHeads = &form{headFields, `INSERT INTO webhook.head AS h (endpoint, next_at, first_key, held)
	SELECT u.endpoint, CASE WHEN u.next_at = 0 THEN 0 ELSE q.next_at END, u.first_key, false
	FROM ` + unnest(headFields, 0) + ` CROSS JOIN LATERAL (
		SELECT next_at FROM webhook.queue WHERE endpoint = u.endpoint AND NOT over ORDER BY next_at, key LIMIT 1) q
	ORDER BY u.endpoint
	ON CONFLICT (endpoint) DO UPDATE SET next_at = least(h.next_at, excluded.next_at),
		first_key = least(h.first_key, excluded.first_key)
	WHERE excluded.next_at < h.next_at OR excluded.first_key < h.first_key`}
