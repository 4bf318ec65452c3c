package sqldb

import (
	"encoding/hex"
	"regexp"
	"slices"

	"github.com/outhook/webhook"
)

// Option changes how a store is opened.
type Option func(*options)

type options struct {
	attributes []string
	reindex    bool
}

func optionsOf(given []Option) (o options) {
	for _, set := range given {
		set(&o)
	}
	return o
}

// IndexAttributes lets lists of deliveries find events by the values of these attributes instead of
// looking through all. It costs writing one index more for each event that has such an attribute.
//
// The indexes are in the database: those missing are built when it is opened, which takes seconds for
// each million events and holds up every Send meanwhile; those of other keys are dropped, so that
// IndexAttributes() drops all. Opening without this option leaves them as they are, and lists use
// them: a tool that looks into the database for a moment need not know of them. A key may hold
// letters, digits and _.:/-, at most 128.
func IndexAttributes(keys ...string) Option {
	return func(o *options) { o.attributes, o.reindex = keys, true }
}

const attributeIndex = "webhook_attribute_"

var indexableKey = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,128}$`)

// attributeTerm reads an attribute of an event, as the index on it does.
func attributeTerm(key string) string { return `attributes ->> '$."` + key + `"'` }

// attributeIndexOf names the index on an attribute; identifiers do not tell A from a.
func attributeIndexOf(key string) string { return attributeIndex + hex.EncodeToString([]byte(key)) }

// indexAttributes makes the indexes on attributes those that are asked for.
func (q *session) indexAttributes(o options) error {
	if !o.reindex {
		return nil
	}
	var has []string
	if err := q.query(func(r row) error {
		has = append(has, r.str(0))
		return nil
	}, `SELECT name FROM sqlite_schema WHERE type = 'index' AND substr(name, 1, ?) = ?`,
		int64(len(attributeIndex)), attributeIndex); err != nil {
		return err
	}
	for _, key := range o.attributes {
		if !indexableKey.MatchString(key) {
			return &webhook.FieldError{Field: "IndexAttributes", Message: "takes keys of letters, digits and _.:/-, at most 128"}
		}
		index := attributeIndexOf(key)
		if at := slices.Index(has, index); at >= 0 {
			has = slices.Delete(has, at, at+1)
			continue
		}
		term := attributeTerm(key)
		if err := q.exec(`CREATE INDEX IF NOT EXISTS ` + index + ` ON webhook_event (` + term + `, tenant)
			WHERE ` + term + ` IS NOT NULL AND deliveries IS NOT NULL`); err != nil {
			return err
		}
	}
	for _, index := range has {
		if err := q.exec(`DROP INDEX ` + index); err != nil {
			return err
		}
	}
	return nil
}

// byAttributes finds deliveries by an attribute that has an index; nil if there is none.
func (l *deliveryList) byAttributes() (candidates, error) {
	keys := make([]string, 0, len(l.Attributes))
	for key := range l.Attributes {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		index := attributeIndexOf(key)
		has, err := l.int(`SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = ?`, index)
		if err != nil {
			return nil, err
		}
		if has == 0 {
			continue
		}
		in := deliveryTimes.stretch(l.Since, l.Until)
		terms, args := attributeTerm(key)+" = ? AND deliveries IS NOT NULL", []any{l.Attributes[key]}
		if l.tenant != 0 {
			terms, args = terms+" AND tenant = ?", append(args, l.tenant)
		}
		return deliveryTimes.with(l.session, union(l.throughEvents(index, in, terms, args...), l.apart(in, l.tenant, l.typ)), l.Since, l.Until)
	}
	return nil, nil
}
