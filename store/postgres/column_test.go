package postgres

import (
	"math"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/pgtest"
)

// What a column encodes is what pgx makes of the same slice, in every mode.
func TestColumns(t *testing.T) {
	pool := pgtest.Pool(t, pgtest.Database(t), 1)
	long := make([]byte, 100_000)
	lists := []any{
		[]int64{0, -1, none, math.MaxInt64},
		[]string{"", `a "b" \c, {d}`, "NULL", "é"},
		[][]byte{nil, {}, {0, 255, '\\', '"'}, long},
		[]bool{true, false, false, true},
	}
	const sql = `SELECT $1::bigint[], $2::text[], $3::bytea[], $4::boolean[]`
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			c, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			defer c.Release()
			teach(c.Conn().TypeMap())
			known := len(c.Conn().TypeMap().TryWrapEncodePlanFuncs)
			teach(c.Conn().TypeMap())
			require.Len(t, c.Conn().TypeMap().TryWrapEncodePlanFuncs, known)

			var numbers []int64
			var texts []string
			var blobs [][]byte
			var truths []bool
			require.NoError(t, c.QueryRow(t.Context(), sql, append([]any{mode}, columns(lists)...)...).Scan(&numbers, &texts, &blobs, &truths))
			require.Equal(t, lists, []any{numbers, texts, blobs, truths})
		})
	}
}
