package sqldb

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
		num, err := q.endpointNum(given.ID)
		if err != nil {
			return err
		}
		if num != 0 {
			return fmt.Errorf("%w: endpoint %s exists already", webhook.ErrConflict, given.ID)
		}
		out = wholeRow(given)
		if out.Generation, err = q.nextGeneration(); err != nil {
			return err
		}
		tenant, err := q.intern(given.TenantID)
		if err != nil {
			return err
		}
		return q.insertEndpoint(key, rest, tenant, &out)
	})
	return out, err
}

func (q *session) nextGeneration() (int64, error) {
	return q.int(`UPDATE webhook_meta SET value = value + 1 WHERE name = 'generation' RETURNING value`)
}

func (q *session) insertEndpoint(key, rest, tenant int64, e *webhook.EndpointRow) error {
	return q.exec(`INSERT INTO webhook_endpoint (state, disabled_reason, url, ordered, config, cancel_pending,
		released_at, failing_since, failures, exhausted, last_success_at, last_failure_at, updated_at,
		generation, created_at, key, rest, tenant)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		append(endpointColumnsOf(e), e.CreatedAt.UnixMicro(), key, rest, tenant)...)
}

// endpointColumnsOf returns the values of the columns that change.
func endpointColumnsOf(e *webhook.EndpointRow) []any {
	h := &e.Health
	var config any
	if e.Config != nil {
		config = e.Config
	}
	return []any{
		number(endpointStates, e.State), e.DisabledReason, e.URL, flag(e.Ordered), config,
		text(string(e.CancelPending)), micro(e.ReleasedAt), micro(h.FailingSince), h.Failures, h.Exhausted,
		micro(h.LastSuccessAt), micro(h.LastFailureAt), e.UpdatedAt.UnixMicro(), e.Generation,
	}
}

// UpdateEndpoint implements [webhook.Store]. The closure runs inside the write transaction: it must be
// quick and must not call the store.
func (s *Store) UpdateEndpoint(ctx context.Context, endpointID string, change func(*webhook.EndpointRow) error) (out webhook.EndpointRow, err error) {
	var refused error
	err = s.write(ctx, func(q *session) error {
		was, err := q.endpointRow(endpointID)
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
		row.ID, row.TenantID, row.CreatedAt = was.ID, was.TenantID, was.CreatedAt
		out = wholeRow(row)
		return q.storeEndpoint(was.num, &out)
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
var errRefused = errors.New("sqlite: change refused")

// storeEndpoint writes a row under the next generation and brings its head in line.
func (q *session) storeEndpoint(num int64, e *webhook.EndpointRow) (err error) {
	if e.Generation, err = q.nextGeneration(); err != nil {
		return err
	}
	if err := q.exec(`UPDATE webhook_endpoint SET state = ?, disabled_reason = ?, url = ?, ordered = ?,
		config = ?, cancel_pending = ?, released_at = ?, failing_since = ?, failures = ?, exhausted = ?,
		last_success_at = ?, last_failure_at = ?, updated_at = ?, generation = ? WHERE num = ?`,
		append(endpointColumnsOf(e), num)...); err != nil {
		return err
	}
	if e.Ordered {
		if err := q.unfoldAll(); err != nil {
			return err
		}
	}
	return q.rebuild(num, e.State != webhook.EndpointEnabled, e.Ordered)
}

// GetEndpoint implements [webhook.Store].
func (s *Store) GetEndpoint(ctx context.Context, endpointID string) (out webhook.EndpointRow, err error) {
	err = s.read(ctx, func(q *session) error {
		row, err := q.endpointRow(endpointID)
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
		w := &filter{hint: "INDEXED BY webhook_endpoint_key"}
		if !lq.AllTenants {
			w.hint = "INDEXED BY webhook_endpoint_tenant"
			if _, found, err := w.name(q, "tenant", lq.TenantID); err != nil || !found {
				return err
			}
		}
		if lq.After != "" {
			key, rest, ok := id.Split(id.Endpoint, lq.After)
			if !ok {
				return &webhook.FieldError{Field: "After", Message: "must be the last ID of the page before, " + id.Endpoint + "…"}
			}
			w.and("key <= ? AND (key, rest) < (?, ?)", key, key, rest)
		}
		w.and("state <> 3")
		if len(lq.States) > 0 {
			in := "state IN (-1"
			for _, s := range lq.States {
				in += fmt.Sprintf(", %d", number(endpointStates, s))
			}
			w.and(in + ")")
		}
		out, err = q.endpointRows(`SELECT `+endpointColumns+` FROM webhook_endpoint `+w.hint+w.where()+
			` ORDER BY key DESC, rest DESC LIMIT ?`, append(w.args, pageSize(lq.Limit))...)
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
		out, err = q.endpointRows(`SELECT `+endpointColumns+` FROM webhook_endpoint
			INDEXED BY webhook_endpoint_generation WHERE generation > ? ORDER BY generation LIMIT ?`,
			after, int64(max(limit, 0)))
		return err
	})
	return out, generation, err
}

const endpointColumns = `key, rest, tenant, state, disabled_reason, url, ordered, config, cancel_pending,
	released_at, created_at, updated_at, generation, ` + healthColumns + `, num, erased`

// endpointRow is a row with its number.
type endpointRow struct {
	webhook.EndpointRow
	num, tenant int64
	erased      bool
}

func scanEndpoint(r row) endpointRow {
	e := endpointRow{num: r.int(18), tenant: r.int(2), erased: r.int(19) != 0}
	e.ID = id.Join(id.Endpoint, r.int(0), r.int(1))
	e.State, e.DisabledReason = member(endpointStates, r.int(3)), r.str(4)
	e.URL, e.Ordered, e.Config = r.str(5), r.int(6) != 0, r.bytes(7)
	e.CancelPending, e.ReleasedAt = webhook.ErrorCode(r.str(8)), r.time(9)
	e.CreatedAt, e.UpdatedAt, e.Generation = zeroTime(r.int(10)), zeroTime(r.int(11)), r.int(12)
	e.Health = scanHealth(r, 13)
	return e
}

func (q *session) endpointRow(endpointID string) (e endpointRow, err error) {
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return e, endpointNotFound(endpointID)
	}
	found, err := q.one(func(r row) { e = scanEndpoint(r) },
		`SELECT `+endpointColumns+` FROM webhook_endpoint WHERE key = ? AND rest = ?`, key, rest)
	if err != nil {
		return e, err
	}
	if !found || e.erased {
		return endpointRow{}, endpointNotFound(endpointID)
	}
	e.TenantID, err = q.name(e.tenant)
	return e, err
}

func (q *session) endpointRows(sql string, args ...any) ([]webhook.EndpointRow, error) {
	var read []endpointRow
	if err := q.query(func(r row) error {
		read = append(read, scanEndpoint(r))
		return nil
	}, sql, args...); err != nil {
		return nil, err
	}
	var out []webhook.EndpointRow
	for i := range read {
		var err error
		if read[i].TenantID, err = q.name(read[i].tenant); err != nil {
			return nil, err
		}
		out = append(out, read[i].EndpointRow)
	}
	return out, nil
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
