package postgres

import (
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

// slack is how far an ID's time may be from the time that its row shows. Filters are exact; only what
// they look at is bounded by it.
const slack = 24 * time.Hour

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

// created filters by created_at and bounds the keys.
func (w *filter) created(since, until time.Time) {
	if !since.IsZero() {
		w.and(w.of+"key >= ? AND "+w.of+"created_at >= ?", id.KeyAt(since.Add(-slack)), ceilMicro(since))
	}
	if !until.IsZero() {
		w.and(w.of+"key < ? AND "+w.of+"created_at < ?", id.KeyAt(until.Add(slack)), ceilMicro(until))
	}
}
