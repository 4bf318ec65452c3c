package sqldb

import "strings"

// insertSizes are the rows a statement inserts.
var insertSizes = [...]int{32, 8, 1}

// inserts are the statements that insert rows of one kind.
type inserts struct {
	width int // columns
	by    [len(insertSizes)]string
}

// newInserts makes statements of the form head (…), (…) tail.
func newInserts(head, values, tail string) *inserts {
	in := &inserts{width: strings.Count(values, "?")}
	for i, n := range insertSizes {
		in.by[i] = head + " " + strings.Repeat(values+", ", n-1) + values + " " + tail
	}
	return in
}

// inserter gathers rows and writes them many to a statement.
type inserter struct {
	*inserts
	args []any
}

func (in *inserter) add(columns ...any) { in.args = append(in.args, columns...) }

// flush writes what was gathered and returns whether every row was inserted.
func (in *inserter) flush(q *session) (all bool, err error) {
	args, want, changed := in.args, int64(len(in.args)/in.width), int64(0)
	for i, size := range insertSizes {
		for len(args) >= size*in.width {
			n, err := q.changed(in.by[i], args[:size*in.width]...)
			if err != nil {
				return false, err
			}
			changed += n
			args = args[size*in.width:]
		}
	}
	clear(in.args)
	in.args = in.args[:0]
	return changed == want, nil
}
