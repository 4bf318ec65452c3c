package sqldb

import "slices"

// heads gathers what deliveries become claimable when, by endpoint.
type heads struct {
	list []head
	at   map[int64]int // place in list, by endpoint; only once it is long
}

type head struct {
	endpoint, nextAt int64
	held             bool
	firstKey         int64 // none: the endpoint is not ordered
}

// lower notes that a delivery of an endpoint is claimable from nextAt.
func (h *heads) lower(endpoint, nextAt int64, held bool, key int64, ordered bool) {
	if !ordered {
		key = none
	}
	i, known := h.find(endpoint)
	if !known {
		h.list = append(h.list, head{endpoint, nextAt, held, key})
		if h.at != nil {
			h.at[endpoint] = len(h.list) - 1
		}
		return
	}
	h.list[i].nextAt = min(h.list[i].nextAt, nextAt)
	h.list[i].firstKey = min(h.list[i].firstKey, key)
}

func (h *heads) find(endpoint int64) (int, bool) {
	if h.at == nil {
		if len(h.list) <= 8 {
			i := slices.IndexFunc(h.list, func(x head) bool { return x.endpoint == endpoint })
			return i, i >= 0
		}
		h.at = make(map[int64]int, 2*len(h.list))
		for i := range h.list {
			h.at[h.list[i].endpoint] = i
		}
	}
	i, ok := h.at[endpoint]
	return i, ok
}

// upsertHeads leaves a head alone that is early enough, as nearly all are while things go well.
var upsertHeads = newInserts(`INSERT INTO webhook_head (endpoint, next_at, held, first_key) VALUES`, `(?, ?, ?, ?)`,
	`ON CONFLICT (endpoint) DO UPDATE SET
		next_at = min(next_at, excluded.next_at),
		first_key = min(first_key, excluded.first_key)
	WHERE excluded.next_at < next_at OR excluded.first_key < first_key`)

func (h *heads) flush(q *session) error {
	in := inserter{inserts: upsertHeads}
	for _, x := range h.list {
		in.add(x.endpoint, x.nextAt, flag(x.held), opt(x.firstKey))
	}
	*h = heads{}
	_, err := in.flush(q)
	return err
}

// earliest returns the pending delivery of an endpoint that is claimable first.
func (q *session) earliest(endpoint int64) (nextAt, dueAt int64, found bool, err error) {
	found, err = q.one(func(r row) { nextAt, dueAt = r.int(0), r.int(1) },
		`SELECT next_at, due_at FROM webhook_delivery INDEXED BY webhook_delivery_pending
		WHERE state = 0 AND endpoint = ? ORDER BY next_at, key LIMIT 1`, endpoint)
	return nextAt, dueAt, found, err
}

// first returns the pending delivery of an ordered endpoint that has the lowest ID, and from when on
// it may be claimed: when no lease of the endpoint runs any more.
func (q *session) first(endpoint, firstKey, now int64) (d *delivery, from int64, err error) {
	for _, by := range []string{`INDEXED BY webhook_delivery_endpoint WHERE own = 0`, `INDEXED BY webhook_delivery_own WHERE own = 1`} {
		if _, err = q.one(func(r row) {
			if other := scanDelivery(r); d == nil || other.key < d.key {
				d = other
			}
		}, `SELECT `+deliveryColumns+` FROM webhook_delivery `+by+`
			AND endpoint = ? AND key >= ? AND state = 0 ORDER BY key LIMIT 1`, endpoint, firstKey); err != nil {
			break
		}
	}
	if err != nil || d == nil {
		return nil, 0, err
	}
	from = d.nextAt
	for _, leases := range []string{
		// What is due later without a lease is looked over; in an ordered endpoint that is rare.
		`SELECT next_at FROM webhook_delivery INDEXED BY webhook_delivery_pending
		WHERE state = 0 AND endpoint = ? AND next_at > ? AND owner IS NOT NULL ORDER BY next_at DESC LIMIT 1`,
		`SELECT next_at FROM webhook_delivery INDEXED BY webhook_delivery_late
		WHERE state > 0 AND owner IS NOT NULL AND endpoint = ? AND next_at > ? ORDER BY next_at DESC LIMIT 1`,
	} {
		if _, err := q.one(func(r row) { from = max(from, r.int(0)) }, leases, endpoint, now); err != nil {
			return nil, 0, err
		}
	}
	return d, from, nil
}

// next returns from when on Claim finds something at an endpoint, and when that was due.
func (q *session) next(t *taking, now int64) (nextAt, dueAt int64, found bool, err error) {
	if !t.ordered {
		return q.earliest(t.endpoint)
	}
	d, from, err := q.first(t.endpoint, t.firstKey, now)
	if err != nil || d == nil {
		return 0, 0, false, err
	}
	return from, d.dueAt, true, nil
}

// correct writes an ordered endpoint's head anew and returns from when on it has something to claim,
// none if nothing is pending. Its first key stays a lower bound.
func (q *session) correct(endpoint, firstKey, now int64) (from int64, err error) {
	d, from, err := q.first(endpoint, firstKey, now)
	if err != nil {
		return none, err
	}
	if d == nil {
		return none, q.exec(`DELETE FROM webhook_head WHERE endpoint = ?`, endpoint)
	}
	return from, q.exec(`UPDATE webhook_head SET next_at = ?, first_key = ? WHERE endpoint = ?
		AND (next_at <> ? OR first_key IS NOT ?)`, from, d.key, endpoint, from, d.key)
}

func errOr(err error, do func() error) error {
	if err != nil {
		return err
	}
	return do()
}

// rebuild makes an endpoint's head after a change of the endpoint.
func (q *session) rebuild(endpoint int64, held, ordered bool) error {
	nextAt, _, found, err := q.earliest(endpoint)
	if err != nil {
		return err
	}
	if !found {
		return q.exec(`DELETE FROM webhook_head WHERE endpoint = ?`, endpoint)
	}
	var firstKey any
	if ordered {
		key, err := q.int(`SELECT min(key) FROM webhook_delivery INDEXED BY webhook_delivery_pending
			WHERE state = 0 AND endpoint = ?`, endpoint)
		if err != nil {
			return err
		}
		firstKey = key
	}
	return q.exec(`INSERT INTO webhook_head (endpoint, next_at, held, first_key) VALUES (?, ?, ?, ?)
		ON CONFLICT (endpoint) DO UPDATE SET next_at = excluded.next_at, held = excluded.held,
			first_key = excluded.first_key`, endpoint, nextAt, flag(held), firstKey)
}
