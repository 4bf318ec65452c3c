package sqldb

import (
	"context"
	"fmt"
	"strings"

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
		tenant, err := q.intern(row.TenantID)
		if err != nil {
			return err
		}
		n, err := q.changed(`INSERT INTO webhook_bulk (key, rest, tenant, all_tenants, state, leased_by, lease_until,
			progress, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			key, rest, tenant, flag(row.AllTenants), string(row.State), row.LeasedBy, micro(row.LeaseUntil),
			blob(row.Progress), row.CreatedAt.UnixMicro(), row.UpdatedAt.UnixMicro())
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: bulk retry %s exists already", webhook.ErrConflict, row.ID)
		}
		return err
	})
}

// UpdateBulkRetry implements [webhook.BulkStore]. The closure runs inside the write transaction: it must
// be quick and must not call the store.
func (s *Store) UpdateBulkRetry(
	ctx context.Context, bulkID string, change func(*webhook.BulkRetryRow) error,
) (out webhook.BulkRetryRow, err error) {
	var refused error
	err = s.write(ctx, func(q *session) error {
		row, err := q.bulkRow(bulkID)
		if err != nil {
			return err
		}
		if refused = change(&row); refused != nil {
			return errRefused
		}
		key, _, _ := id.Split(id.BulkRetry, bulkID)
		if err := q.exec(`UPDATE webhook_bulk SET state = ?, leased_by = ?, lease_until = ?, progress = ?, updated_at = ?
			WHERE key = ?`, string(row.State), row.LeasedBy, micro(row.LeaseUntil), blob(row.Progress),
			row.UpdatedAt.UnixMicro(), key); err != nil {
			return err
		}
		out, err = q.bulkRow(bulkID)
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
		out, err = q.bulkRow(bulkID)
		return err
	})
	return out, err
}

const bulkColumns = `key, rest, tenant, all_tenants, state, leased_by, lease_until, progress, created_at, updated_at`

type bulkRow struct {
	webhook.BulkRetryRow
	tenant int64
}

func scanBulk(r row) bulkRow {
	return bulkRow{tenant: r.int(2), BulkRetryRow: webhook.BulkRetryRow{
		ID: id.Join(id.BulkRetry, r.int(0), r.int(1)), AllTenants: r.int(3) != 0, State: webhook.BulkRetryState(r.str(4)),
		LeasedBy: r.str(5), LeaseUntil: r.time(6), Progress: r.bytes(7),
		CreatedAt: r.time(8), UpdatedAt: r.time(9),
	}}
}

func (q *session) bulkRow(bulkID string) (webhook.BulkRetryRow, error) {
	key, rest, ok := id.Split(id.BulkRetry, bulkID)
	var rows []bulkRow
	err := error(nil)
	if ok {
		err = q.query(func(r row) error { rows = append(rows, scanBulk(r)); return nil },
			`SELECT `+bulkColumns+` FROM webhook_bulk WHERE key = ? AND rest = ?`, key, rest)
	}
	if err != nil {
		return webhook.BulkRetryRow{}, err
	}
	if len(rows) == 0 {
		return webhook.BulkRetryRow{}, fmt.Errorf("%w: bulk retry %s", webhook.ErrNotFound, bulkID)
	}
	return q.bulkNamed(rows[0])
}

func (q *session) bulkNamed(b bulkRow) (_ webhook.BulkRetryRow, err error) {
	b.TenantID, err = q.name(b.tenant)
	return b.BulkRetryRow, err
}

// ListBulkRetries implements [webhook.BulkStore]. There are few of them, so they need no index.
func (s *Store) ListBulkRetries(ctx context.Context, bq webhook.BulkRetryQuery) (list []webhook.BulkRetryRow, err error) {
	terms, args := []string{"1"}, []any(nil)
	for range bq.States {
		args = append(args, nil)
	}
	for i, state := range bq.States {
		args[i] = string(state)
	}
	if n := len(bq.States); n > 0 {
		terms = append(terms, "state IN ("+strings.TrimSuffix(strings.Repeat("?, ", n), ", ")+")")
	}
	if bq.After != "" {
		key, _, ok := id.Split(id.BulkRetry, bq.After)
		if !ok {
			return nil, nil
		}
		terms, args = append(terms, "key < ?"), append(args, key)
	}
	err = s.read(ctx, func(q *session) error {
		if !bq.AllTenants {
			tenant, err := q.find(bq.TenantID)
			if err != nil || tenant == 0 {
				return err
			}
			terms, args = append(terms, "all_tenants = 0 AND tenant = ?"), append(args, tenant)
		}
		var rows []bulkRow
		err := q.query(func(r row) error { rows = append(rows, scanBulk(r)); return nil },
			`SELECT `+bulkColumns+` FROM webhook_bulk WHERE `+strings.Join(terms, " AND ")+` ORDER BY key DESC LIMIT ?`,
			append(args, pageSize(bq.Limit))...)
		for _, b := range rows {
			row, nameErr := q.bulkNamed(b)
			if err = errOr(err, func() error { return nameErr }); err != nil {
				return err
			}
			list = append(list, row)
		}
		return err
	})
	return list, err
}
