package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// CreateEndpoint implements [webhook.Store].
func (s *Store) CreateEndpoint(ctx context.Context, given webhook.EndpointRow) (out webhook.EndpointRow, err error) {
	err = s.write(ctx, func(q *session) error {
		key, rest, ok := id.Split(id.Endpoint, given.ID)
		if !ok {
			return &webhook.FieldError{Field: "Endpoint.ID", Message: "must be an endpoint's ID, " + id.Endpoint + "…"}
		}
		out = wholeRow(given)
		if out.Generation, err = q.nextGeneration(); err != nil {
			return err
		}
		num, err := q.endpointNum(given.ID)
		if err != nil {
			return err
		}
		if num != 0 {
			return fmt.Errorf("%w: endpoint %s exists already", webhook.ErrConflict, given.ID)
		}
		return q.insertEndpoint(key, rest, &out)
	})
	return out, err
}

// nextGeneration comes before anything else that a change of endpoints does: it lets one in at a time.
func (q *session) nextGeneration() (int64, error) {
	q.last = append(q.last, q.s.notification()...)
	return q.int(`UPDATE webhook.meta SET generation = generation + 1 RETURNING generation`)
}

func (q *session) insertEndpoint(key, rest int64, e *webhook.EndpointRow) error {
	num, err := q.int(`INSERT INTO webhook.endpoint (state, disabled_reason, url, ordered, config, cancel_pending,
		released_at, updated_at, generation, created_at, key, rest, tenant)
		VALUES ($1, $2, $3, $4, $5, nullif($6, ''), nullif($7::bigint, `+noneSQL+`), $8, $9, $10, $11, $12, $13) RETURNING num`,
		append(endpointColumnsOf(e), e.CreatedAt.UnixMicro(), key, rest, e.TenantID)...)
	if err != nil {
		return err
	}
	h := healthOf(e.Health)
	return q.exec(`INSERT INTO webhook.health (endpoint, failing_since, failures, exhausted, last_success_at, last_failure_at)
		VALUES ($1, `+nullArgs(2)+`, $3, $4, `+nullArgs(5)+`, `+nullArgs(6)+`)`,
		num, h.failingSince, h.failures, h.exhausted, h.lastSuccessAt, h.lastFailureAt)
}

// nullArgs is a placeholder that reads none as NULL.
func nullArgs(n int) string { return fmt.Sprintf("nullif($%d::bigint, %s)", n, noneSQL) }

// endpointColumnsOf returns the values of the columns that change.
func endpointColumnsOf(e *webhook.EndpointRow) []any {
	return []any{
		number(endpointStates, e.State), []byte(e.DisabledReason), e.URL, e.Ordered, e.Config,
		string(e.CancelPending), micro(e.ReleasedAt), e.UpdatedAt.UnixMicro(), e.Generation,
	}
}

// UpdateEndpoint implements [webhook.Store]. The closure runs inside the transaction: it must be quick and
// must not call the store.
func (s *Store) UpdateEndpoint(ctx context.Context, endpointID string, change func(*webhook.EndpointRow) error) (out webhook.EndpointRow, err error) {
	var refused error
	err = s.write(ctx, func(q *session) error {
		refused = nil
		generation, err := q.nextGeneration()
		if err != nil {
			return err
		}
		was, err := q.endpointRow(endpointID, " FOR UPDATE")
		if err != nil {
			return err
		}
		if was.Deleted() {
			return endpointNotFound(endpointID)
		}
		row := was.EndpointRow
		if refused = change(&row); refused != nil {
			return errRefused
		}
		row.ID, row.TenantID, row.CreatedAt, row.Generation = was.ID, was.TenantID, was.CreatedAt, generation
		out = wholeRow(row)
		return q.storeEndpoint(was.num, &was.EndpointRow, &out)
	})
	if refused != nil {
		err = refused
	}
	if err != nil {
		return webhook.EndpointRow{}, err
	}
	return out, nil
}

// errRefused: the user's closure returned an error of its own, which is passed on as it is.
var errRefused = errors.New("postgres: change refused")

// storeEndpoint writes a row under the next generation and brings its head in line.
func (q *session) storeEndpoint(num int64, was, e *webhook.EndpointRow) (err error) {
	if err := q.exec(`UPDATE webhook.endpoint SET state = $1, disabled_reason = $2, url = $3, ordered = $4,
		config = $5, cancel_pending = nullif($6, ''), released_at = nullif($7::bigint, `+noneSQL+`), updated_at = $8,
		generation = $9 WHERE num = $10`, append(endpointColumnsOf(e), num)...); err != nil {
		return err
	}
	if h := healthOf(e.Health); h.public() != was.Health {
		if err := q.exec(`UPDATE webhook.health SET failing_since = `+nullArgs(2)+`, failures = $3, exhausted = $4,
			last_success_at = `+nullArgs(5)+`, last_failure_at = `+nullArgs(6)+` WHERE endpoint = $1`,
			num, h.failingSince, h.failures, h.exhausted, h.lastSuccessAt, h.lastFailureAt); err != nil {
			return err
		}
	}
	if e.Ordered && !was.Ordered {
		if err := q.enqueueOf(num); err != nil {
			return err
		}
	}
	if e.State != was.State || e.Ordered != was.Ordered {
		return q.rebuild(num, e.State != webhook.EndpointEnabled)
	}
	return nil
}

// GetEndpoint implements [webhook.Store].
func (s *Store) GetEndpoint(ctx context.Context, endpointID string) (out webhook.EndpointRow, err error) {
	err = s.read(ctx, func(q *session) error {
		row, err := q.endpointRow(endpointID, "")
		if err == nil {
			out = row.EndpointRow
		}
		return err
	})
	return out, err
}

// ListEndpoints implements [webhook.Store].
func (s *Store) ListEndpoints(ctx context.Context, lq webhook.EndpointQuery) (out []webhook.EndpointRow, err error) {
	err = s.read(ctx, func(q *session) error {
		w := &filter{}
		if !lq.AllTenants {
			w.and("e.tenant = ?", lq.TenantID)
		}
		if lq.After != "" {
			key, rest, ok := id.Split(id.Endpoint, lq.After)
			if !ok {
				return &webhook.FieldError{Field: "After", Message: "must be the last ID of the page before, " + id.Endpoint + "…"}
			}
			w.and("(e.key, e.rest) < (?, ?)", key, rest)
		}
		var states []int64
		for _, s := range lq.States {
			states = append(states, number(endpointStates, s))
		}
		if len(states) > 0 {
			w.and("e.state = ANY(?::bigint[])", states)
		}
		w.and("e.state <> 3")
		limit := w.arg(pageSize(lq.Limit))
		out, err = q.endpointRows(w.where()+` ORDER BY e.key DESC, e.rest DESC LIMIT `+limit, w.args...)
		return err
	})
	return out, err
}

// SyncEndpoints implements [webhook.Store].
func (s *Store) SyncEndpoints(ctx context.Context, after int64, limit int) (out []webhook.EndpointRow, generation int64, err error) {
	err = s.read(ctx, func(q *session) error {
		if generation, err = q.generation(); err != nil {
			return err
		}
		out, err = q.endpointRows(` WHERE e.generation > $1 ORDER BY e.generation LIMIT $2`, after, int64(max(limit, 0)))
		return err
	})
	return out, generation, err
}

var selectEndpoints = `SELECT e.num, e.key, e.rest, e.tenant, e.state, e.disabled_reason, e.url, e.ordered, e.config, ` +
	optional("e.cancel_pending") + `, ` + nullable("e.released_at") + `, e.created_at, e.updated_at, e.generation, e.erased, ` +
	healthColumns + ` FROM webhook.endpoint e JOIN webhook.health h ON h.endpoint = e.num`

// endpointRow is a row with its number.
type endpointRow struct {
	webhook.EndpointRow
	num    int64
	erased bool
}

func scanEndpoint(r row) (endpointRow, error) {
	var e endpointRow
	var h health
	var key, rest, state, released, created, updated int64
	var reason, config []byte
	var code string
	err := r.Scan(append([]any{&e.num, &key, &rest, &e.TenantID, &state, &reason, &e.URL, &e.Ordered, &config, &code,
		&released, &created, &updated, &e.Generation, &e.erased}, h.into()...)...)
	e.ID, e.State, e.DisabledReason = id.Join(id.Endpoint, key, rest), member(endpointStates, state), string(reason)
	e.Config, e.CancelPending, e.ReleasedAt = config, webhook.ErrorCode(code), timeOf(released)
	e.CreatedAt, e.UpdatedAt, e.Health = zeroTime(created), zeroTime(updated), h.public()
	return e, err
}

// endpointRow reads one row. lock is what comes behind the query.
func (q *session) endpointRow(endpointID, lock string) (e endpointRow, err error) {
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	found := false
	if ok {
		err = q.query(func(r row) error {
			found = true
			e, err = scanEndpoint(r)
			return err
		}, selectEndpoints+` WHERE e.key = $1 AND e.rest = $2`+lock, key, rest)
	}
	if err != nil {
		return e, err
	}
	if !found || e.erased {
		return endpointRow{}, endpointNotFound(endpointID)
	}
	return e, nil
}

func (q *session) endpointRows(rest string, args ...any) (out []webhook.EndpointRow, err error) {
	return out, q.query(func(r row) error {
		e, err := scanEndpoint(r)
		out = append(out, e.EndpointRow)
		return err
	}, selectEndpoints+rest, args...)
}

func (q *session) endpointNum(endpointID string) (num int64, err error) {
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return 0, nil
	}
	return q.int(`SELECT num FROM webhook.endpoint WHERE key = $1 AND rest = $2`, key, rest)
}

// endpointOf is 0 for another tenant's, too. Its lists would be gone through in vain.
func (q *session) endpointOf(endpointID string, allTenants bool, tenantID string) (num int64, err error) {
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return 0, nil
	}
	return q.int(`SELECT num FROM webhook.endpoint WHERE key = $1 AND rest = $2 AND ($3 OR tenant = $4)`, key, rest, allTenants, tenantID)
}

// wholeRow cuts a row's times to what is kept.
func wholeRow(e webhook.EndpointRow) webhook.EndpointRow {
	e.CreatedAt, e.UpdatedAt, e.ReleasedAt = whole(e.CreatedAt), whole(e.UpdatedAt), whole(e.ReleasedAt)
	e.Health.FailingSince, e.Health.LastSuccessAt = whole(e.Health.FailingSince), whole(e.Health.LastSuccessAt)
	e.Health.LastFailureAt = whole(e.Health.LastFailureAt)
	return e
}

func endpointNotFound(endpointID string) error {
	return fmt.Errorf("%w: endpoint %s", webhook.ErrNotFound, endpointID)
}
