package postgres

import (
	"context"
	"fmt"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var _ webhook.BulkStore = (*Store)(nil)

// CreateBulkRetry implements [webhook.BulkStore].
func (s *Store) CreateBulkRetry(ctx context.Context, row webhook.BulkRetryRow) error {
	return s.write(ctx, func(q *session) error {
		key, rest, ok := id.Split(id.BulkRetry, row.ID)
		if !ok {
			return &webhook.FieldError{Field: "BulkRetry.ID", Message: "must be a bulk retry's ID, " + id.BulkRetry + "…"}
		}
		n, err := q.changed(`INSERT INTO webhook.bulk (key, rest, tenant, all_tenants, state, leased_by, lease_until,
			progress, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, `+nullArgs(7)+`, $8, $9, $10) ON CONFLICT DO NOTHING`,
			key, rest, row.TenantID, row.AllTenants, string(row.State), row.LeasedBy, micro(row.LeaseUntil),
			notNil(row.Progress), row.CreatedAt.UnixMicro(), row.UpdatedAt.UnixMicro())
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: bulk retry %s exists already", webhook.ErrConflict, row.ID)
		}
		return err
	})
}

// UpdateBulkRetry implements [webhook.BulkStore]. The closure runs inside the transaction: it must be
// quick and must not call the store.
func (s *Store) UpdateBulkRetry(
	ctx context.Context, bulkID string, change func(*webhook.BulkRetryRow) error,
) (out webhook.BulkRetryRow, err error) {
	var refused error
	err = s.write(ctx, func(q *session) error {
		row, err := q.bulkRow(bulkID, " FOR UPDATE")
		if err != nil {
			return err
		}
		if refused = change(&row); refused != nil {
			return errRefused
		}
		key, _, _ := id.Split(id.BulkRetry, bulkID)
		if err := q.exec(`UPDATE webhook.bulk SET state = $1, leased_by = $2, lease_until = `+nullArgs(3)+`, progress = $4,
			updated_at = $5 WHERE key = $6`, string(row.State), row.LeasedBy, micro(row.LeaseUntil), notNil(row.Progress),
			row.UpdatedAt.UnixMicro(), key); err != nil {
			return err
		}
		out, err = q.bulkRow(bulkID, "")
		return err
	})
	if refused != nil {
		return webhook.BulkRetryRow{}, refused
	}
	return out, err
}

// GetBulkRetry implements [webhook.BulkStore].
func (s *Store) GetBulkRetry(ctx context.Context, bulkID string) (out webhook.BulkRetryRow, err error) {
	err = s.read(ctx, func(q *session) (err error) {
		out, err = q.bulkRow(bulkID, "")
		return err
	})
	return out, err
}

var selectBulks = `SELECT key, rest, tenant, all_tenants, state, leased_by, ` + nullable("lease_until") +
	`, progress, created_at, updated_at FROM webhook.bulk`

func scanBulk(r row) (b webhook.BulkRetryRow, err error) {
	var key, rest, until, created, updated int64
	var state string
	err = r.Scan(&key, &rest, &b.TenantID, &b.AllTenants, &state, &b.LeasedBy, &until, &b.Progress, &created, &updated)
	b.ID, b.State, b.LeaseUntil = id.Join(id.BulkRetry, key, rest), webhook.BulkRetryState(state), timeOf(until)
	b.CreatedAt, b.UpdatedAt = fromMicro(created), fromMicro(updated)
	return b, err
}

// bulkRow reads one row. lock is what comes behind the query.
func (q *session) bulkRow(bulkID, lock string) (b webhook.BulkRetryRow, err error) {
	key, rest, ok := id.Split(id.BulkRetry, bulkID)
	found := false
	if ok {
		err = q.query(func(r row) error {
			found = true
			b, err = scanBulk(r)
			return err
		}, selectBulks+` WHERE key = $1 AND rest = $2`+lock, key, rest)
	}
	if err == nil && !found {
		err = fmt.Errorf("%w: bulk retry %s", webhook.ErrNotFound, bulkID)
	}
	return b, err
}

// ListBulkRetries implements [webhook.BulkStore]. There are few of them, so they need no index.
func (s *Store) ListBulkRetries(ctx context.Context, bq webhook.BulkRetryQuery) (list []webhook.BulkRetryRow, err error) {
	w := &filter{}
	if len(bq.States) > 0 {
		var states []string
		for _, state := range bq.States {
			states = append(states, string(state))
		}
		w.and("state = ANY(?::text[])", states)
	}
	if bq.After != "" {
		key, _, ok := id.Split(id.BulkRetry, bq.After)
		if !ok {
			return nil, nil
		}
		w.and("key < ?", key)
	}
	if !bq.AllTenants {
		w.and("NOT all_tenants AND tenant = ?", bq.TenantID)
	}
	limit := w.arg(pageSize(bq.Limit))
	err = s.read(ctx, func(q *session) error {
		return q.query(func(r row) error {
			b, err := scanBulk(r)
			list = append(list, b)
			return err
		}, selectBulks+w.where()+` ORDER BY key DESC LIMIT `+limit, w.args...)
	})
	return list, err
}
