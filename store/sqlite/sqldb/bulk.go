package sqldb

import (
	"context"
	"fmt"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var _ webhook.BulkStore = (*Store)(nil)

// CreateBulkRetry implements [webhook.BulkStore].
func (s *Store) CreateBulkRetry(ctx context.Context, given webhook.BulkRetryRow) error {
	return s.write(ctx, func(q *session) error {
		key, rest, ok := id.Split(id.BulkRetry, given.ID)
		if !ok {
			return &webhook.FieldError{Field: "BulkRetryRow.ID", Message: "must be a bulk retry's ID, " + id.BulkRetry + "…"}
		}
		tenant := any(nil)
		if !given.AllTenants {
			num, err := q.intern(given.TenantID)
			if err != nil {
				return err
			}
			tenant = num
		}
		n, err := q.changed(`INSERT INTO webhook_bulk (key, rest, tenant, state, leased_by, lease_until, progress,
			created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			key, rest, tenant, string(given.State), given.LeasedBy, micro(given.LeaseUntil), blob(given.Progress),
			given.CreatedAt.UnixMicro(), given.UpdatedAt.UnixMicro())
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: bulk retry %s exists already", webhook.ErrConflict, given.ID)
		}
		return err
	})
}

// UpdateBulkRetry implements [webhook.BulkStore]. The closure runs inside the write transaction: it must
// be quick and must not call the store.
func (s *Store) UpdateBulkRetry(
	ctx context.Context, bulkRetryID string, change func(*webhook.BulkRetryRow) error,
) (out webhook.BulkRetryRow, err error) {
	var refused error
	err = s.write(ctx, func(q *session) error {
		was, key, err := q.bulkRow(bulkRetryID)
		if err != nil {
			return err
		}
		row := was
		if refused = change(&row); refused != nil {
			return errRefused
		}
		row.ID, row.TenantID, row.AllTenants, row.CreatedAt = was.ID, was.TenantID, was.AllTenants, was.CreatedAt
		row.LeaseUntil, row.UpdatedAt = whole(row.LeaseUntil), whole(row.UpdatedAt)
		out = row
		return q.exec(`UPDATE webhook_bulk SET state = ?, leased_by = ?, lease_until = ?, progress = ?, updated_at = ?
			WHERE key = ?`, string(row.State), row.LeasedBy, micro(row.LeaseUntil), blob(row.Progress),
			row.UpdatedAt.UnixMicro(), key)
	})
	if refused != nil {
		err = refused
	}
	if err != nil {
		return webhook.BulkRetryRow{}, err
	}
	return out, nil
}

// GetBulkRetry implements [webhook.BulkStore].
func (s *Store) GetBulkRetry(ctx context.Context, bulkRetryID string) (out webhook.BulkRetryRow, err error) {
	err = s.read(ctx, func(q *session) error {
		out, _, err = q.bulkRow(bulkRetryID)
		return err
	})
	return out, err
}

// ListBulkRetries implements [webhook.BulkStore].
func (s *Store) ListBulkRetries(ctx context.Context, lq webhook.BulkRetryQuery) (out []webhook.BulkRetryRow, err error) {
	err = s.read(ctx, func(q *session) error {
		w := &filter{}
		if !lq.AllTenants {
			if found, err := w.name(q, "tenant", lq.TenantID); err != nil || !found {
				return err
			}
		}
		if lq.After != "" {
			key, _, ok := id.Split(id.BulkRetry, lq.After)
			if !ok {
				return &webhook.FieldError{Field: "After", Message: "must be the last ID of the page before, " + id.BulkRetry + "…"}
			}
			w.and("key < ?", key)
		}
		if len(lq.States) > 0 {
			in, args := "state IN (''", []any{}
			for _, state := range lq.States {
				in, args = in+", ?", append(args, string(state))
			}
			w.and(in+")", args...)
		}
		out, err = q.bulkRows(`SELECT `+bulkColumns+` FROM webhook_bulk`+w.where()+` ORDER BY key DESC LIMIT ?`,
			append(w.args, pageSize(lq.Limit))...)
		return err
	})
	return out, err
}

const bulkColumns = `key, rest, tenant, state, leased_by, lease_until, progress, created_at, updated_at`

func (q *session) bulkRow(bulkRetryID string) (b webhook.BulkRetryRow, key int64, err error) {
	key, rest, ok := id.Split(id.BulkRetry, bulkRetryID)
	if ok {
		var rows []webhook.BulkRetryRow
		rows, err = q.bulkRows(`SELECT `+bulkColumns+` FROM webhook_bulk WHERE key = ? AND rest = ?`, key, rest)
		if len(rows) == 1 {
			return rows[0], key, err
		}
	}
	if err == nil {
		err = fmt.Errorf("%w: bulk retry %s", webhook.ErrNotFound, bulkRetryID)
	}
	return b, 0, err
}

func (q *session) bulkRows(sql string, args ...any) (out []webhook.BulkRetryRow, err error) {
	var tenants []int64
	err = q.query(func(r row) error {
		tenants = append(tenants, r.opt(2))
		out = append(out, webhook.BulkRetryRow{
			ID: id.Join(id.BulkRetry, r.int(0), r.int(1)), AllTenants: r.null(2), State: webhook.BulkRetryState(r.str(3)),
			LeasedBy: r.str(4), LeaseUntil: r.time(5), Progress: r.bytes(6), CreatedAt: r.time(7), UpdatedAt: r.time(8),
		})
		return nil
	}, sql, args...)
	for i := range out {
		if err == nil && !out[i].AllTenants {
			out[i].TenantID, err = q.name(tenants[i])
		}
	}
	return out, err
}

// bulkRetries drops the few that finished before, all at once.
func (p *pruning) bulkRetries(int64) (next int64, done bool, err error) {
	if p.request.FinishedBefore.IsZero() {
		return none, true, nil
	}
	return none, true, p.exec(`DELETE FROM webhook_bulk WHERE state IN (?, ?) AND updated_at < ?`,
		string(webhook.BulkRetryDone), string(webhook.BulkRetryCanceled), p.request.FinishedBefore.UnixMicro())
}
