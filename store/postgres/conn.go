package postgres

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// conn is what all SQL of this package runs against. Several statements go in one round trip where the
// driver can do that; each sees what those before it did, and the first that fails is the last.
type conn interface {
	run(ctx context.Context, list ...*statement) error
}

// statement is SQL on its way to the server, and what came of it.
type statement struct {
	sql     string
	args    []any
	rows    bool            // the arguments are the columns of rows
	scan    func(row) error // nil: no rows are expected
	changed int64
}

// row is one result row.
type row interface{ Scan(into ...any) error }

// errStop ends a query early, without an error.
var errStop = errors.New("stop")

// pgxConn runs on a connection or transaction of pgx.
type pgxConn struct {
	db interface {
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
		SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	}
}

func (c pgxConn) run(ctx context.Context, list ...*statement) error {
	if len(list) == 1 {
		return c.single(ctx, list[0])
	}
	var b pgx.Batch
	for _, s := range list {
		b.Queue(s.sql, s.args...)
	}
	results := c.db.SendBatch(ctx, &b)
	for _, s := range list {
		if s.scan == nil {
			tag, err := results.Exec()
			if err != nil {
				return errors.Join(err, ignoreSame(err, results.Close()))
			}
			s.changed = tag.RowsAffected()
			continue
		}
		rows, err := results.Query()
		if err == nil {
			err = s.read(rows)
		}
		if err != nil {
			return errors.Join(err, ignoreSame(err, results.Close()))
		}
	}
	return results.Close()
}

// ignoreSame drops the second report of one error.
func ignoreSame(first, second error) error {
	if second != nil && first.Error() == second.Error() {
		return nil
	}
	return second
}

func (c pgxConn) single(ctx context.Context, s *statement) error {
	if s.scan == nil {
		tag, err := c.db.Exec(ctx, s.sql, s.args...)
		s.changed = tag.RowsAffected()
		return err
	}
	rows, err := c.db.Query(ctx, s.sql, s.args...)
	if err != nil {
		return err
	}
	return s.read(rows)
}

func (s *statement) read(rows pgx.Rows) error {
	defer rows.Close()
	for rows.Next() {
		if err := s.scan(rows); err != nil {
			if errors.Is(err, errStop) {
				break
			}
			return err
		}
	}
	rows.Close()
	return rows.Err()
}

// sqlConn runs on a transaction of database/sql, whatever its driver: arrays go as text.
type sqlConn struct{ db *sql.Tx }

func (c sqlConn) run(ctx context.Context, list ...*statement) error {
	for _, s := range list {
		if err := c.single(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (c sqlConn) single(ctx context.Context, s *statement) (err error) {
	args := make([]any, len(s.args))
	for i, a := range s.args {
		args[i] = arrayText(a)
	}
	if s.scan == nil {
		res, err := c.db.ExecContext(ctx, s.sql, args...)
		if err != nil {
			return err
		}
		s.changed, err = res.RowsAffected()
		return err
	}
	rows, err := c.db.QueryContext(ctx, s.sql, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := s.scan(rows); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
	}
	return rows.Err()
}

// arrayText writes a slice as PostgreSQL reads it; everything else stays.
func arrayText(v any) any {
	switch list := v.(type) {
	case []int64:
		return arrayOf(list, func(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) })
	case []bool:
		return arrayOf(list, strconv.AppendBool)
	case []string:
		return arrayOf(list, func(b []byte, s string) []byte {
			return append(append(append(b, '"'), quoteElement.Replace(s)...), '"')
		})
	case [][]byte:
		return arrayOf(list, func(b []byte, v []byte) []byte {
			if v == nil {
				return append(b, "NULL"...)
			}
			return append(hex.AppendEncode(append(b, `"\\x`...), v), '"')
		})
	}
	return v
}

var quoteElement = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func arrayOf[T any](list []T, add func(b []byte, v T) []byte) string {
	b := []byte{'{'}
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = add(b, v)
	}
	return string(append(b, '}'))
}

// none stands for NULL where an integer is read or written.
const none = math.MinInt64

const noneSQL = `'-9223372036854775808'::bigint`

// nullable lists integer columns that may be NULL, and reads that as none.
func nullable(columns ...string) string {
	for i, c := range columns {
		columns[i] = "coalesce(" + c + ", " + noneSQL + ")"
	}
	return strings.Join(columns, ", ")
}

// optional lists text columns in which "" is kept as NULL.
func optional(columns ...string) string {
	for i, c := range columns {
		columns[i] = "coalesce(" + c + ", '')"
	}
	return strings.Join(columns, ", ")
}

// kind is the type of a column as it is sent.
type kind uint8

const (
	integer kind = iota // none is NULL
	text                // "" is NULL if the column is optional
	blob                // nil is NULL
	truth
)

var arrayTypes = [...]string{integer: "bigint[]", text: "text[]", blob: "bytea[]", truth: "boolean[]"}

// field is a column of rows that go to the server together.
type field struct {
	name     string
	kind     kind
	optional bool // of an integer: none, of text: "" is NULL
}

// form is a statement that takes many rows at once, each column as an array.
type form struct {
	fields []field
	sql    string
}

// fieldsOf reads "name", "name?" (optional), "name:text", "name:blob", "name:truth".
func fieldsOf(spec string) (fields []field) {
	for _, word := range strings.Fields(spec) {
		f := field{name: word}
		if name, typ, ok := strings.Cut(word, ":"); ok {
			f.name = name
			word = typ
			switch strings.TrimSuffix(typ, "?") {
			case "text":
				f.kind = text
			case "blob":
				f.kind = blob
			case "truth":
				f.kind = truth
			}
		}
		f.optional = strings.HasSuffix(word, "?")
		f.name = strings.TrimSuffix(f.name, "?")
		fields = append(fields, f)
	}
	return fields
}

// unnest is the rows as a table u, for use behind FROM. The placeholders begin after skip.
func unnest(fields []field, skip int) string {
	var types, names []string
	for i, f := range fields {
		types = append(types, fmt.Sprintf("$%d::%s", i+1+skip, arrayTypes[f.kind]))
		names = append(names, f.name)
	}
	return "unnest(" + strings.Join(types, ", ") + ") AS u(" + strings.Join(names, ", ") + ")"
}

// value reads a field of u.
func (f field) value() string {
	switch {
	case f.optional && f.kind == integer:
		return "nullif(u." + f.name + ", " + noneSQL + ")"
	case f.optional && f.kind == text:
		return "nullif(u." + f.name + ", '')"
	}
	return "u." + f.name
}

// inserts are two forms of one insertion. The plain one fails if a key is there already, which is cheaper
// than to ask before each row; the other leaves such rows out.
type inserts struct{ plain, asking *form }

func insertingNew(table, spec, order string) inserts {
	return inserts{inserting(table, spec, ""), inserting(table, spec, order+"ON CONFLICT DO NOTHING")}
}

func (i inserts) form(ask bool) *form {
	if ask {
		return i.asking
	}
	return i.plain
}

// inserting makes the form that inserts into a table. tail is ON CONFLICT … or "".
func inserting(table, spec, tail string) *form {
	fields := fieldsOf(spec)
	var names, values []string
	for _, f := range fields {
		names, values = append(names, f.name), append(values, f.value())
	}
	return &form{fields, "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") SELECT " +
		strings.Join(values, ", ") + " FROM " + unnest(fields, 0) + " " + tail}
}

// located is unnest with the place of the row that the first fields, as many as keys, name: a table u, without
// those that have none. A plain join may go through the whole table instead, if it was small when that was
// planned.
func located(table string, fields []field, keys int, also string) string {
	where := make([]string, keys)
	for i, f := range fields[:keys] {
		where[i] = f.name + " = u." + f.name
	}
	return "(SELECT t.ctid AS place, u.* FROM " + unnest(fields, 0) + " CROSS JOIN LATERAL (SELECT ctid FROM " + table +
		" WHERE " + strings.Join(where, " AND ") + also + " OFFSET 0) t OFFSET 0) u"
}

// updating makes the form that sets columns of the rows whose first fields, as many as keys, are equal.
func updating(table, spec string, keys int) *form {
	fields := fieldsOf(spec)
	var sets []string
	for _, f := range fields[keys:] {
		sets = append(sets, f.name+" = "+f.value())
	}
	return &form{fields, "UPDATE " + table + " t SET " + strings.Join(sets, ", ") + " FROM " + located(table, fields, keys, "") +
		" WHERE t.ctid = u.place"}
}

// gathered are rows for a form.
type gathered struct {
	*form
	columns []any // []int64, []string, [][]byte, []bool
	n       int
	expect  int // about how many rows there will be
}

func (g *gathered) add(values ...any) {
	if g.columns == nil {
		g.columns = make([]any, len(g.fields))
	}
	if len(values) != len(g.fields) {
		panic(fmt.Sprintf("postgres: %d values for %d fields of %s", len(values), len(g.fields), g.sql))
	}
	g.n++
	for i, v := range values {
		switch v := v.(type) {
		case int64:
			g.columns[i] = extend(g.columns[i], v, g.expect)
		case string:
			g.columns[i] = extend(g.columns[i], v, g.expect)
		case []byte:
			g.columns[i] = extend(g.columns[i], v, g.expect)
		case bool:
			g.columns[i] = extend(g.columns[i], v, g.expect)
		default:
			panic(fmt.Sprintf("postgres: field %s: %T", g.fields[i].name, v))
		}
	}
}

func extend[T any](column any, v T, expect int) []T {
	list, ok := column.([]T)
	if !ok {
		list = make([]T, 0, expect)
	}
	return append(list, v)
}

// statement returns what sends the rows, and forgets them.
func (g *gathered) statement() *statement {
	s := &statement{sql: g.sql, args: g.columns, rows: true}
	g.columns, g.n = nil, 0
	return s
}

func fromMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

// timeOf is the zero time for none.
func timeOf(us int64) time.Time {
	if us == none {
		return time.Time{}
	}
	return fromMicro(us)
}

func timePtr(us int64) *time.Time {
	if us == none {
		return nil
	}
	t := fromMicro(us)
	return &t
}

// zeroTime reads a time that is never NULL; the zero time stands for none.
func zeroTime(us int64) time.Time {
	if t := fromMicro(us); !t.IsZero() {
		return t
	}
	return time.Time{}
}

// micro is none for the zero time.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return none
	}
	return t.UnixMicro()
}

func microPtr(t *time.Time) int64 {
	if t == nil {
		return none
	}
	return t.UnixMicro()
}

// ceilMicro rounds up, as comparing whole microseconds with a finer time needs.
func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}

func whole(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return fromMicro(t.UnixMicro())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
