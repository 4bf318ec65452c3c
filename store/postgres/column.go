package postgres

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// column is a list of a statement's rows on its way through pgx, which would encode it element by element,
// each through an interface, into memory that it grows as it goes.
type column struct {
	list    any // []int64, []string, [][]byte or []bool
	reserve int // bytes for this and what follows it in its statement
}

// columns wraps the lists of a statement, if they are all its arguments.
func columns(lists []any) []any {
	sizes, sum := make([]int, len(lists)), 0
	for i, list := range lists {
		sizes[i] = binarySize(list)
		sum += sizes[i]
	}
	wrapped := make([]any, len(lists))
	for i, list := range lists {
		wrapped[i] = column{list, sum}
		sum -= sizes[i]
	}
	return wrapped
}

// TextValue implements [pgtype.TextValuer], for query modes that send text.
func (c column) TextValue() (pgtype.Text, error) {
	text, ok := arrayText(c.list).(string)
	return pgtype.Text{String: text, Valid: ok}, nil
}

const (
	arrayHeader  = 20 // bytes: dimensions, flag of NULLs, type of elements, length, lower bound
	oneDimension = 1
	lowerBound   = 1
	nullElement  = math.MaxUint32 // -1, in place of a length
)

func binarySize(list any) int {
	size := arrayHeader
	switch list := list.(type) {
	case []int64:
		size += len(list) * (4 + 8)
	case []bool:
		size += len(list) * (4 + 1)
	case []string:
		for _, v := range list {
			size += 4 + len(v)
		}
	case [][]byte:
		for _, v := range list {
			size += 4 + len(v)
		}
	}
	return size
}

// appendTo appends the array as PostgreSQL's array_recv reads it.
func (c column) appendTo(b []byte) []byte {
	b = slices.Grow(b, c.reserve)
	header := func(element uint32, n, nulls int) {
		for _, v := range [...]uint32{oneDimension, uint32(nulls), element, uint32(n), lowerBound} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
	}
	switch list := c.list.(type) {
	case []int64:
		header(pgtype.Int8OID, len(list), 0)
		for _, v := range list {
			b = binary.BigEndian.AppendUint32(b, 8)
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	case []bool:
		header(pgtype.BoolOID, len(list), 0)
		for _, v := range list {
			b = binary.BigEndian.AppendUint32(b, 1)
			if v {
				b = append(b, 1)
			} else {
				b = append(b, 0)
			}
		}
	case []string:
		header(pgtype.TextOID, len(list), 0)
		for _, v := range list {
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		}
	case [][]byte:
		nulls := 0
		if slices.ContainsFunc(list, func(v []byte) bool { return v == nil }) {
			nulls = 1
		}
		header(pgtype.ByteaOID, len(list), nulls)
		for _, v := range list {
			if v == nil {
				b = binary.BigEndian.AppendUint32(b, nullElement)
				continue
			}
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		}
	}
	return b
}

// columnPlan encodes columns in binary.
type columnPlan struct{}

func (columnPlan) SetNext(pgtype.EncodePlan) {}

func (columnPlan) Encode(value any, b []byte) ([]byte, error) { return value.(column).appendTo(b), nil }

// knowsColumns is the name of a type that no server has. It marks the maps that know of columns.
const knowsColumns = "outhook column"

// teach makes a connection's map of types know of columns. It concerns nothing but those.
func teach(m *pgtype.Map) {
	if _, ok := m.TypeForName(knowsColumns); ok {
		return
	}
	m.RegisterType(&pgtype.Type{Name: knowsColumns, OID: math.MaxUint32, Codec: pgtype.ByteaCodec{}})
	m.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{
		func(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
			c, ok := value.(column)
			return columnPlan{}, c.list, ok
		},
	}, m.TryWrapEncodePlanFuncs...)
}
