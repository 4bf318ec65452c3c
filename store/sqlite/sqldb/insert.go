package sqldb

import (
	"strings"
	"sync"
)

// insertSizes are the rows a statement inserts.
var insertSizes = [...]int{32, 8, 1}

// inserts are the statements that insert rows of one kind.
type inserts struct {
	width int // columns
	by    [len(insertSizes)]string
	plain *inserts // for rows whose last columns are NULL; nil: there is no such form
}

// newInserts makes statements of the form head (…), (…) tail.
func newInserts(head, values, tail string) *inserts {
	in := &inserts{width: strings.Count(values, "?")}
	for i, n := range insertSizes {
		in.by[i] = head + " " + strings.Repeat(values+", ", n-1) + values + " " + tail
	}
	return in
}

// newTableInserts makes statements that pass over rows which stand already. Columns that are NULL in
// most rows come last, so that they need not be bound: that costs nearly as much as a value.
func newTableInserts(table, columns, mostlyNull string) *inserts {
	of := func(columns string) *inserts {
		marks := strings.Repeat("?, ", strings.Count(columns, ",")) + "?"
		return newInserts("INSERT INTO "+table+" ("+columns+") VALUES", "("+marks+")", "ON CONFLICT DO NOTHING")
	}
	in := of(columns + ", " + mostlyNull)
	in.plain = of(columns)
	return in
}

// inserter gathers rows and writes them many to a statement.
type inserter struct {
	*inserts
	args []any
}

// spareArgs are argument slices for reuse: those of a large batch are most of what it allocates.
var spareArgs = sync.Pool{New: func() any { return new([]any) }}

func (in *inserter) add(columns ...any) {
	if in.args == nil {
		in.args = *spareArgs.Get().(*[]any)
	}
	in.args = append(in.args, columns...)
}

// flush writes what was gathered and returns whether every row was inserted.
func (in *inserter) flush(q *session) (all bool, err error) {
	args, want, changed := in.args, int64(len(in.args)/in.width), int64(0)
	for i, size := range insertSizes {
		for len(args) >= size*in.width {
			form, rows := in.form(args[:size*in.width])
			n, err := q.changed(form.by[i], rows...)
			if err != nil {
				return false, err
			}
			changed += n
			args = args[size*in.width:]
		}
	}
	if in.args != nil {
		clear(in.args)
		spare := in.args[:0]
		spareArgs.Put(&spare)
		in.args = nil
	}
	return changed == want, nil
}

// form chooses between the whole and the plain form, and packs the rows for it in their place.
func (in *inserter) form(rows []any) (*inserts, []any) {
	if in.plain == nil {
		return in.inserts, rows
	}
	for at := 0; at < len(rows); at += in.width {
		for _, v := range rows[at+in.plain.width : at+in.width] {
			if v != nil {
				return in.inserts, rows
			}
		}
	}
	packed := rows[:0]
	for at := 0; at < len(rows); at += in.width {
		packed = append(packed, rows[at:at+in.plain.width]...)
	}
	return in.plain, packed
}
