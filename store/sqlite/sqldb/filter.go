package sqldb

import (
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
	hint  string // INDEXED BY …
	terms []string
	args  []any
}

func (w *filter) and(term string, args ...any) {
	w.terms = append(w.terms, term)
	w.args = append(w.args, args...)
}

func (w *filter) where() string {
	if len(w.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.terms, " AND ")
}

// name filters a column by a name. found is false if that name was never written.
func (w *filter) name(q *session, column, text string) (num int64, found bool, err error) {
	num, err = q.find(text)
	if err != nil || num == 0 {
		return 0, false, err
	}
	w.and(column+" = ?", num)
	return num, true, nil
}

// created filters by a row's own time. Which keys that may be is for [stretch] to say.
func (w *filter) created(column string, since, until time.Time) {
	if !since.IsZero() {
		w.and(column+" >= ?", ceilMicro(since))
	}
	if !until.IsZero() {
		w.and(column+" < ?", ceilMicro(until))
	}
}

// after returns the key below which a list goes on.
func after(prefix, last string) (before int64, err error) {
	if last == "" {
		return newest, nil
	}
	key, _, ok := id.Split(prefix, last)
	if !ok {
		return 0, &webhook.FieldError{Field: "After", Message: "must be the last ID of the page before, " + prefix + "…"}
	}
	return key, nil
}

// ceilMicro rounds up, as comparing whole microseconds with a finer time needs.
func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}
