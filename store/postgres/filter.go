package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// The size of a page, unless asked otherwise and at most.
const (
	defaultLimit = 50
	maxLimit     = 500
)

func pageSize(limit int) int64 {
	if limit <= 0 {
		return defaultLimit
	}
	return int64(min(limit, maxLimit))
}

// filter is a WHERE clause in the making.
type filter struct {
	of    string // the table's alias and a dot, where several are joined
	terms []string
	args  []any
}

// and adds a term; each ? in it stands for the next argument.
func (w *filter) and(term string, args ...any) {
	for _, a := range args {
		term = strings.Replace(term, "?", w.arg(a), 1)
	}
	w.terms = append(w.terms, term)
}

// arg adds an argument and returns its placeholder.
func (w *filter) arg(a any) string {
	w.args = append(w.args, a)
	return "$" + strconv.Itoa(len(w.args))
}

func (w *filter) where() string {
	if len(w.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.terms, " AND ")
}

// after continues a list below the last ID seen.
func (w *filter) after(prefix, last string) error {
	if last == "" {
		return nil
	}
	key, _, ok := id.Split(prefix, last)
	if !ok {
		return &webhook.FieldError{Field: "After", Message: "must be the last ID of the page before, " + prefix + "…"}
	}
	w.and(w.of+"key < ?", key)
	return nil
}

// between filters by a row's own time. Which keys that may be is for [times] to say.
func (w *filter) between(column string, since, until time.Time) {
	if !since.IsZero() {
		w.and(w.of+column+" >= ?", ceilMicro(since))
	}
	if !until.IsZero() {
		w.and(w.of+column+" < ?", ceilMicro(until))
	}
}

// times is how a table's rows are found by their time. Nearly all have an ID that was made within
// two seconds of it; those that have not (a clock was set, an attempt took long or was found interrupted) stand in
// an index of their own.
type times struct {
	table, alias, column string
	late                 time.Duration // how much later an ID may be made
}

var (
	eventTimes    = times{"webhook.event", "e", "created_at", 2 * time.Second}
	deliveryTimes = times{"webhook.delivery", "d", "created_at", 2 * time.Second}
	attemptTimes  = times{"webhook.attempt", "a", "started_at", 20 * time.Second}
)

// listing is where a list comes from, and what else it asks.
type listing struct {
	from, order string
	terms       []string
}

func (s listing) where() string { return (&filter{terms: s.terms}).where() }

// sources are the ways to what w selects, which has the terms of between.
func (t times) sources(w *filter, since, until time.Time) []listing {
	near := listing{t.table + " " + t.alias, t.alias + ".key", slices.Clone(w.terms)}
	if since.IsZero() && until.IsZero() {
		return []listing{near}
	}
	odd := filter{terms: []string{fmt.Sprintf("(key >> 21) - %s / 1000 NOT BETWEEN -2000 AND %d", t.column, t.late.Milliseconds())}}
	var outside []string
	if !since.IsZero() {
		bound := w.arg(id.KeyAt(since.Add(-3*time.Second))) + "::bigint"
		near.terms, outside = append(near.terms, t.alias+".key >= "+bound), append(outside, "key < "+bound)
		odd.terms = append(odd.terms, t.column+" >= "+w.arg(ceilMicro(since)))
	}
	if !until.IsZero() {
		bound := w.arg(id.KeyAt(until.Add(t.late+time.Second))) + "::bigint"
		near.terms, outside = append(near.terms, t.alias+".key < "+bound), append(outside, "key >= "+bound)
		odd.terms = append(odd.terms, t.column+" < "+w.arg(ceilMicro(until)))
	}
	odd.terms = append(odd.terms, "("+strings.Join(outside, " OR ")+")")
	// The few go first, whatever the planner thinks of them.
	return []listing{near, {"(SELECT key AS k FROM " + t.table + odd.where() + ` ORDER BY key DESC OFFSET 0) q
		CROSS JOIN LATERAL (SELECT * FROM ` + t.table + ` WHERE key = q.k OFFSET 0) ` + t.alias, "q.k", slices.Clone(w.terms)}}
}

// newestOf makes one list of the page of each source.
func newestOf(sources []listing, limit string, page func(listing) string) string {
	if len(sources) == 1 {
		return page(sources[0]) + limit
	}
	pages := make([]string, len(sources))
	for i, s := range sources {
		pages[i] = "(" + page(s) + limit + ")"
	}
	return "SELECT * FROM (" + strings.Join(pages, " UNION ALL ") + ") x ORDER BY 1 DESC" + limit
}
