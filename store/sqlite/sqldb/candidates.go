package sqldb

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/outhook/webhook/internal/id"
)

// candidates gives keys of rows that a list may show: at most n that are below a key, newest first. Fewer
// than n means that there are no more. The list looks at the rows themselves to decide.
//
// So one index serves any combination of filters: it yields candidates, and the other filters narrow
// them. docs/queries.md says which filter finds and which narrows.
type candidates func(before int64, n int) ([]int64, error)

const (
	newest    = math.MaxInt64
	mostAhead = 4096 // candidates at a time, where few of them pass
)

// walk looks at candidates until take has enough, at more at a time the fewer pass.
func walk(from candidates, before int64, limit int, take func(keys []int64) (enough bool, err error)) error {
	for n := limit; ; n = min(2*n, mostAhead) {
		keys, err := from(before, n)
		if err != nil || len(keys) == 0 {
			return err
		}
		enough, err := take(keys)
		if err != nil || enough || len(keys) < n {
			return err
		}
		before = keys[len(keys)-1]
	}
}

// stretch bounds keys.
type stretch struct{ from, before int64 }

var always = stretch{0, newest}

// indexed are the rows of a table in an index whose last column is the key.
func (q *session) indexed(table, index string, in stretch, terms string, args ...any) candidates {
	hint := "NOT INDEXED"
	if index != "" {
		hint = "INDEXED BY " + index
	}
	if terms != "" {
		terms += " AND "
	}
	sql := `SELECT key FROM ` + table + ` ` + hint + ` WHERE ` + terms + `key < ? AND key >= ? ORDER BY key DESC LIMIT ?`
	return func(before int64, n int) (keys []int64, err error) {
		keys = make([]int64, 0, n)
		err = q.query(func(r row) error {
			keys = append(keys, r.int(0))
			return nil
		}, sql, append(slices.Clip(args), min(before, in.before), in.from, int64(n))...)
		return keys, err
	}
}

// given are keys that are known already.
func given(keys []int64) candidates {
	slices.SortFunc(keys, descending)
	keys = slices.Compact(keys)
	return func(before int64, n int) ([]int64, error) {
		at, _ := slices.BinarySearchFunc(keys, before, func(key, before int64) int {
			if key >= before {
				return -1
			}
			return 1
		})
		return keys[at:min(at+n, len(keys))], nil
	}
}

// union merges candidates.
func union(of ...candidates) candidates {
	if len(of) == 1 {
		return of[0]
	}
	return func(before int64, n int) (keys []int64, err error) {
		for _, from := range of {
			some, err := from(before, n)
			if err != nil {
				return nil, err
			}
			keys = append(keys, some...)
		}
		slices.SortFunc(keys, descending)
		keys = slices.Compact(keys)
		return keys[:min(n, len(keys))], nil
	}
}

func descending(a, b int64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// near is how much higher than its event's key that of a delivery is, save those in the indexes
// webhook_delivery_apart_…: a tenth of a second. It stands in the schema, too.
const near = 100 << 21

// throughEvents are the deliveries near the events that an index finds.
func (q *session) throughEvents(index string, in stretch, terms string, args ...any) candidates {
	sql := `SELECT key, deliveries FROM webhook_event INDEXED BY ` + index + ` WHERE ` + terms +
		` AND key < ? AND key >= ? ORDER BY key DESC LIMIT ?`
	return func(before int64, n int) ([]int64, error) {
		f := fanOut{before: min(before, in.before), from: in.from, want: n}
		for f.event = f.before; ; {
			seen := 0
			err := q.query(func(r row) error {
				seen++
				if f.add(r.int(0), unpack(r.bytes(1))) {
					return errStop
				}
				return nil
			}, sql, append(slices.Clip(args), f.event, max(in.from-near, 0), int64(n))...)
			if err != nil {
				return nil, err
			}
			if seen < n || f.enough {
				break
			}
		}
		slices.SortFunc(f.keys, descending)
		return f.keys[:min(n, len(f.keys))], nil
	}
}

// fanOut gathers deliveries of events that come newest first.
type fanOut struct {
	before, from int64 // the keys wanted
	want         int
	event        int64 // the last one seen
	keys         []int64
	enough       bool
	look         int // when there are so many, see whether they are enough
}

// add takes up an event's deliveries and reports whether those wanted are among what was gathered:
// deliveries of events still to come may be up to near above the last event.
func (f *fanOut) add(event int64, deliveries []ident) (enough bool) {
	f.event = event
	for _, d := range deliveries {
		if d.key < f.before && d.key >= f.from && event <= d.key && d.key <= event+near {
			f.keys = append(f.keys, d.key)
		}
	}
	if len(f.keys) < max(f.want, f.look) {
		return false
	}
	sure := 0
	for _, key := range f.keys {
		if key >= event+near {
			sure++
		}
	}
	f.look = len(f.keys) + f.want/4
	f.enough = sure >= f.want
	return f.enough
}

// timed is a table whose rows have a time besides that of their IDs. Filters go by the row's; an index
// by the ID's. They hardly differ; rows where they do are in an index of their own.
type timed struct {
	table, column  string
	earlier, later time.Duration // than the row's time an ID may be
}

var (
	eventTimes    = timed{"webhook_event", "created_at", 2 * time.Second, 2 * time.Second}
	deliveryTimes = timed{"webhook_delivery", "created_at", 2 * time.Second, 2 * time.Second}
	attemptTimes  = timed{"webhook_attempt", "started_at", 2 * time.Second, 20 * time.Second}
)

// stretch returns the keys of rows in a stretch of time, save the odd ones.
func (t timed) stretch(since, until time.Time) stretch {
	in := always
	if !since.IsZero() {
		in.from = id.KeyAt(since.Add(-t.earlier))
	}
	if !until.IsZero() {
		in.before = id.KeyAt(until.Add(t.later + time.Millisecond))
	}
	return in
}

// odd returns the odd rows of that time that lie outside, if there is any.
func (t timed) odd(q *session, since, until time.Time) (keys []int64, err error) {
	if since.IsZero() && until.IsZero() {
		return nil, nil
	}
	w := filter{}
	w.and(fmt.Sprintf("(key >> 21) - %s / 1000 NOT BETWEEN %d AND %d",
		t.column, -t.earlier.Milliseconds(), t.later.Milliseconds()))
	w.created(t.column, since, until)
	in := t.stretch(since, until)
	w.and("(key < ? OR key >= ?)", in.from, in.before)
	err = q.query(func(r row) error {
		keys = append(keys, r.int(0))
		return nil
	}, `SELECT key FROM `+t.table+` INDEXED BY `+t.table+`_odd`+w.where(), w.args...)
	return keys, err
}

// with adds the odd rows of a stretch of time.
func (t timed) with(q *session, from candidates, since, until time.Time) (candidates, error) {
	odd, err := t.odd(q, since, until)
	if err != nil || len(odd) == 0 {
		return from, err
	}
	return union(from, given(odd)), nil
}

// jsonKeys is an argument for json_each.
func jsonKeys(keys []int64) string {
	b := []byte{'['}
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%d", k)
	}
	return string(append(b, ']'))
}

// among selects rows by key.
func among(column string) string {
	return column + " IN (SELECT value FROM json_each(?))"
}
