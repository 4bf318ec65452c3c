package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

var _ webhook.BulkStore = (*Store)(nil)

type bulkRetry struct{ webhook.BulkRetryRow }

func (b *bulkRetry) key() string { return b.ID }

func (b *bulkRetry) row() webhook.BulkRetryRow {
	row := b.BulkRetryRow
	row.Progress = slices.Clone(row.Progress)
	return row
}

func (b *bulkRetry) set(row webhook.BulkRetryRow) {
	row.Progress = slices.Clone(row.Progress)
	row.LeaseUntil, row.CreatedAt, row.UpdatedAt = whole(row.LeaseUntil), whole(row.CreatedAt), whole(row.UpdatedAt)
	b.BulkRetryRow = row
}

// CreateBulkRetry implements [webhook.BulkStore].
func (s *Store) CreateBulkRetry(ctx context.Context, row webhook.BulkRetryRow) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if _, found := s.bulks.get(row.ID); found {
		return fmt.Errorf("%w: bulk retry %s exists already", webhook.ErrConflict, row.ID)
	}
	b := &bulkRetry{}
	b.set(row)
	s.bulks.put(b)
	return nil
}

// UpdateBulkRetry implements [webhook.BulkStore]. The closure runs while the store is locked.
func (s *Store) UpdateBulkRetry(
	ctx context.Context, id string, change func(*webhook.BulkRetryRow) error,
) (webhook.BulkRetryRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bulkRetry(ctx, id)
	if err != nil {
		return webhook.BulkRetryRow{}, err
	}
	row := b.row()
	if err := change(&row); err != nil {
		return webhook.BulkRetryRow{}, err
	}
	row.ID, row.TenantID, row.AllTenants, row.CreatedAt = b.ID, b.TenantID, b.AllTenants, b.CreatedAt
	b.set(row)
	return b.row(), nil
}

// GetBulkRetry implements [webhook.BulkStore].
func (s *Store) GetBulkRetry(ctx context.Context, id string) (webhook.BulkRetryRow, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bulkRetry(ctx, id)
	if err != nil {
		return webhook.BulkRetryRow{}, err
	}
	return b.row(), nil
}

func (s *Store) bulkRetry(ctx context.Context, id string) (*bulkRetry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	b, found := s.bulks.get(id)
	if !found {
		return nil, fmt.Errorf("%w: bulk retry %s", webhook.ErrNotFound, id)
	}
	return b, nil
}

// ListBulkRetries implements [webhook.BulkStore].
func (s *Store) ListBulkRetries(ctx context.Context, q webhook.BulkRetryQuery) ([]webhook.BulkRetryRow, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	matches := func(b *bulkRetry) bool {
		return (q.AllTenants || !b.AllTenants && b.TenantID == q.TenantID) &&
			(len(q.States) == 0 || slices.Contains(q.States, b.State))
	}
	return page(&s.bulks, q.After, q.Limit, matches, (*bulkRetry).row), nil
}

func (s *Store) eraseBulkRetries(tenantID string) {
	s.dropBulkRetries(func(b *bulkRetry) bool { return !b.AllTenants && b.TenantID == tenantID })
}

// pruneBulkRetries drops the few that finished before, all at once.
func (s *Store) pruneBulkRetries(before time.Time) {
	if !before.IsZero() {
		s.dropBulkRetries(func(b *bulkRetry) bool { return b.State.Final() && b.UpdatedAt.Before(before) })
	}
}

func (s *Store) dropBulkRetries(drop func(*bulkRetry) bool) {
	for _, b := range s.bulks.up("", s.bulks.len()) {
		if drop(b) {
			s.bulks.remove(b.ID)
		}
	}
}
