package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// bulkRules hold for stores that are a [webhook.BulkStore] too.
var bulkRules = []rule{
	{name: "keeps a row as it was given", check: func(w *world) {
		s := w.bulkStore()
		row := w.bulkRow()
		row.LeasedBy, row.LeaseUntil, row.Progress = "me", w.now.Add(leaseTime), []byte("{\"a\":\"\x00\xff\"}")
		w.NoError(s.CreateBulkRetry(w.ctx, row))
		w.ErrorIs(s.CreateBulkRetry(w.ctx, row), webhook.ErrConflict)
		got, err := s.GetBulkRetry(w.ctx, row.ID)
		w.NoError(err)
		w.Equal(row, got)
		got.Progress[0] = 'x'
		again, err := s.GetBulkRetry(w.ctx, row.ID)
		w.NoError(err)
		w.Equal(row, again, "what is returned belongs to the caller")
	}},
	{name: "changes a row by a closure", check: func(w *world) {
		s := w.bulkStore()
		row := w.bulkRow()
		w.NoError(s.CreateBulkRetry(w.ctx, row))
		w.pass(time.Minute)
		want := row
		want.State, want.LeasedBy, want.LeaseUntil = webhook.BulkRetryCanceling, "you", w.now.Add(789).Truncate(time.Microsecond)
		want.Progress, want.UpdatedAt = []byte("further"), w.now
		got, err := s.UpdateBulkRetry(w.ctx, row.ID, func(row *webhook.BulkRetryRow) error {
			row.ID, row.TenantID, row.AllTenants, row.CreatedAt = "br_x", "other", true, time.Time{}
			row.State, row.LeasedBy, row.LeaseUntil = webhook.BulkRetryCanceling, "you", w.now.Add(789)
			row.Progress, row.UpdatedAt = []byte("further"), w.now
			return nil
		})
		w.NoError(err)
		w.Equal(want, got)
		no := errors.New("no")
		_, err = s.UpdateBulkRetry(w.ctx, row.ID, func(row *webhook.BulkRetryRow) error {
			row.State = webhook.BulkRetryDone
			return no
		})
		w.ErrorIs(err, no)
		got, err = s.GetBulkRetry(w.ctx, row.ID)
		w.NoError(err)
		w.Equal(want, got)
		got, err = s.UpdateBulkRetry(w.ctx, row.ID, func(row *webhook.BulkRetryRow) error {
			row.LeasedBy, row.LeaseUntil = "", time.Time{}
			return nil
		})
		w.NoError(err)
		w.Empty(got.LeasedBy)
		w.True(got.LeaseUntil.IsZero())
	}},
	{name: "does not find a row that is not there", check: func(w *world) {
		s := w.bulkStore()
		_, err := s.GetBulkRetry(w.ctx, w.newID(id.BulkRetry))
		w.ErrorIs(err, webhook.ErrNotFound)
		_, err = s.UpdateBulkRetry(w.ctx, w.newID(id.BulkRetry), func(*webhook.BulkRetryRow) error { return nil })
		w.ErrorIs(err, webhook.ErrNotFound)
	}},
	{name: "lists rows, newest first, by tenant and state", check: func(w *world) {
		s := w.bulkStore()
		a, b := w.bulkRow(), w.bulkRow()
		all, other := w.bulkRow(), w.bulkRow()
		b.State = webhook.BulkRetryDone
		all.TenantID, all.AllTenants = "", true
		other.TenantID = ""
		for _, row := range []webhook.BulkRetryRow{b, other, a, all} {
			w.NoError(s.CreateBulkRetry(w.ctx, row))
		}
		for _, c := range []struct {
			q    webhook.BulkRetryQuery
			want []webhook.BulkRetryRow
		}{
			{webhook.BulkRetryQuery{AllTenants: true}, []webhook.BulkRetryRow{other, all, b, a}},
			{webhook.BulkRetryQuery{TenantID: acme}, []webhook.BulkRetryRow{b, a}},
			{webhook.BulkRetryQuery{}, []webhook.BulkRetryRow{other}},
			{webhook.BulkRetryQuery{AllTenants: true, Limit: 2, After: other.ID}, []webhook.BulkRetryRow{all, b}},
			{webhook.BulkRetryQuery{TenantID: acme, States: []webhook.BulkRetryState{webhook.BulkRetryRunning}}, []webhook.BulkRetryRow{a}},
			{webhook.BulkRetryQuery{AllTenants: true, States: []webhook.BulkRetryState{webhook.BulkRetryCanceling, webhook.BulkRetryDone}}, []webhook.BulkRetryRow{b}},
			{webhook.BulkRetryQuery{TenantID: "nobody"}, nil},
		} {
			got, err := s.ListBulkRetries(w.ctx, c.q)
			w.NoError(err)
			w.Len(got, len(c.want), "%+v", c.q)
			for i := range c.want {
				w.Equal(c.want[i], got[i], "%+v", c.q)
			}
		}
	}},
	{name: "loses no change", check: func(w *world) {
		s := w.bulkStore()
		row := w.bulkRow()
		row.Progress = nil
		w.NoError(s.CreateBulkRetry(w.ctx, row))
		var wg sync.WaitGroup
		errs := make(chan error, 100)
		for range 4 {
			wg.Go(func() {
				for range 25 {
					_, err := s.UpdateBulkRetry(w.ctx, row.ID, func(row *webhook.BulkRetryRow) error {
						row.Progress = append(row.Progress, 'x')
						return nil
					})
					errs <- err
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			w.NoError(err)
		}
		got, err := s.GetBulkRetry(w.ctx, row.ID)
		w.NoError(err)
		w.Len(got.Progress, 100)
	}},
	{name: "prunes rows that are over, and only those", check: func(w *world) {
		s := w.bulkStore()
		running, canceling, done, canceled := w.bulkRow(), w.bulkRow(), w.bulkRow(), w.bulkRow()
		canceling.State, done.State, canceled.State = webhook.BulkRetryCanceling, webhook.BulkRetryDone, webhook.BulkRetryCanceled
		for _, row := range []webhook.BulkRetryRow{running, canceling, done, canceled} {
			w.NoError(s.CreateBulkRetry(w.ctx, row))
		}
		w.prune(webhook.PruneRequest{FinishedBefore: w.now})
		w.prune(webhook.PruneRequest{})
		w.Len(w.bulkIDs(), 4)
		w.pass(time.Second)
		w.prune(webhook.PruneRequest{FinishedBefore: w.now})
		w.Equal([]string{canceling.ID, running.ID}, w.bulkIDs())
	}},
	{name: "erases a tenant's rows with the tenant", check: func(w *world) {
		s := w.bulkStore()
		own, all, other := w.bulkRow(), w.bulkRow(), w.bulkRow()
		all.TenantID, all.AllTenants = "", true
		other.TenantID = "other"
		for _, row := range []webhook.BulkRetryRow{own, all, other} {
			w.NoError(s.CreateBulkRetry(w.ctx, row))
		}
		w.erase(webhook.EraseRequest{TenantID: ""})
		w.Len(w.bulkIDs(), 3)
		w.erase(webhook.EraseRequest{TenantID: acme})
		w.Equal([]string{other.ID, all.ID}, w.bulkIDs())
	}},
}

func (w *world) bulkStore() webhook.BulkStore {
	s, ok := w.s.(webhook.BulkStore)
	if !ok {
		w.t.Skip("the store keeps no bulk retries")
	}
	return s
}

func (w *world) bulkRow() webhook.BulkRetryRow {
	return webhook.BulkRetryRow{
		ID: w.newID(id.BulkRetry), TenantID: acme, State: webhook.BulkRetryRunning, Progress: []byte("{}"),
		CreatedAt: w.now, UpdatedAt: w.now,
	}
}

func (w *world) bulkIDs() (ids []string) {
	rows, err := w.bulkStore().ListBulkRetries(w.ctx, webhook.BulkRetryQuery{AllTenants: true})
	w.NoError(err)
	for _, row := range rows {
		ids = append(ids, row.ID)
	}
	return ids
}
