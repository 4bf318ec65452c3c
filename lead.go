package webhook

import (
	"context"
	"errors"
	"sync"
	"time"
)

// bulkRetries leads the bulk retries that nobody else leads. RunOnce leads them to their end; Run until
// ctx ends.
func (r *run) bulkRetries(ctx context.Context) {
	if r.once {
		defer func() {
			r.bulksDone.Store(true)
			r.poke()
		}()
	}
	store, err := r.d.bulkStore()
	if err != nil {
		return
	}
	leaders := leaders{run: r, store: store, led: map[string]chan struct{}{}}
	defer leaders.wait.Wait()
	for {
		open, err := leaders.assign(ctx)
		if err != nil && ctx.Err() == nil {
			r.d.log.Warn("webhook: bulk retries wait for the store", "error", err)
		}
		if r.once && open == 0 && err == nil {
			return
		}
		if !sleep(ctx, max(bulkPoll, r.d.cfg.PollInterval), r.bulk) {
			return
		}
	}
}

// leaders are the bulk retries that this process leads.
type leaders struct {
	run   *run
	store BulkStore
	wait  sync.WaitGroup

	mu  sync.Mutex
	led map[string]chan struct{} // by ID; a value on it makes the leader look; guarded by mu
}

// assign begins to lead what is open and tells those who lead already to look. It returns how many are
// open, whoever leads them.
func (l *leaders) assign(ctx context.Context) (open int, err error) {
	rows, err := l.store.ListBulkRetries(ctx, BulkRetryQuery{
		AllTenants: true, States: []BulkRetryState{BulkRetryRunning, BulkRetryCanceling}, Limit: 500,
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, row := range rows {
		if look := l.led[row.ID]; look != nil {
			select {
			case look <- struct{}{}:
			default:
			}
			continue
		}
		look := make(chan struct{}, 1)
		l.led[row.ID] = look
		l.wait.Go(func() {
			l.lead(ctx, row.ID, look)
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.led, row.ID)
		})
	}
	return len(rows), err
}

// errNotLeader: another process leads it, or it is over.
var errNotLeader = errors.New("webhook: this process does not lead the bulk retry")

// lead works on a bulk retry, a step at a time, until it is over or lost.
func (l *leaders) lead(ctx context.Context, bulkRetryID string, look <-chan struct{}) {
	p, err := l.renew(ctx, bulkRetryID)
	for err == nil {
		step := bulkStep{d: l.run.d, p: p}
		if err = step.do(ctx); err != nil {
			break
		}
		if p, err = l.record(ctx, &step); err == nil {
			p, err = l.pause(ctx, p, step.wait, look)
		}
	}
	if ctx.Err() != nil {
		l.resign(ctx, bulkRetryID)
	} else if !errors.Is(err, errNotLeader) && !errors.Is(err, ErrNotFound) {
		l.run.d.log.Warn("webhook: a bulk retry waits; it goes on by itself", "bulkRetry", bulkRetryID, "error", err)
	}
}

// renew takes the lease, or keeps it.
func (l *leaders) renew(ctx context.Context, bulkRetryID string) (p bulkProgress, err error) {
	d := l.run.d
	row, err := l.store.UpdateBulkRetry(ctx, bulkRetryID, func(row *BulkRetryRow) error {
		now := d.now()
		if row.State.Final() || row.LeasedBy != "" && row.LeasedBy != d.owner && row.LeaseUntil.After(now) {
			return errNotLeader
		}
		row.LeasedBy, row.LeaseUntil = d.owner, now.Add(bulkLease)
		return nil
	})
	if err != nil {
		return p, err
	}
	return decodeBulk(row)
}

// record adds to the row what a step did. If the lease was lost meanwhile, whoever has it does the step
// again, which finds nothing to do where this one did it.
func (l *leaders) record(ctx context.Context, s *bulkStep) (bulkProgress, error) {
	d := l.run.d
	row, err := l.store.UpdateBulkRetry(ctx, s.p.ID, func(row *BulkRetryRow) error {
		if row.LeasedBy != d.owner || row.State.Final() {
			return errNotLeader
		}
		return d.changeBulk(row, s.apply)
	})
	if err != nil {
		return bulkProgress{}, err
	}
	if row.State.Final() {
		return bulkProgress{}, errNotLeader
	}
	return decodeBulk(row)
}

// pause waits between steps and keeps the lease. Cancellation ends the wait.
func (l *leaders) pause(ctx context.Context, p bulkProgress, wait time.Duration, look <-chan struct{}) (bulkProgress, error) {
	end := time.Now().Add(wait)
	for err := error(nil); ; {
		left := time.Until(end)
		if left <= 0 || p.State != BulkRetryRunning {
			return p, ctx.Err()
		}
		if !sleep(ctx, min(left, bulkPoll), look) {
			return p, ctx.Err()
		}
		if p, err = l.renew(ctx, p.ID); err != nil {
			return p, err
		}
	}
}

// resign lets another process lead at once.
func (l *leaders) resign(ctx context.Context, bulkRetryID string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrites)
	defer cancel()
	_, err := l.store.UpdateBulkRetry(ctx, bulkRetryID, func(row *BulkRetryRow) error {
		if row.LeasedBy != l.run.d.owner {
			return errNotLeader
		}
		row.LeasedBy, row.LeaseUntil = "", time.Time{}
		return nil
	})
	if err != nil && !errors.Is(err, errNotLeader) && !errors.Is(err, ErrNotFound) {
		l.run.d.log.Warn("webhook: a bulk retry goes on when this process's lease of it ends", "bulkRetry", bulkRetryID, "error", err)
	}
}

// bulkStep is one page of a bulk retry.
type bulkStep struct {
	d    *Dispatcher
	p    bulkProgress
	last string // the last ID seen; "": it was the end
	wait time.Duration

	matched, requeued, canceled int64
}

func (s *bulkStep) do(ctx context.Context) error {
	if s.p.State == BulkRetryCanceling {
		return s.sweep(ctx)
	}
	q := s.p.Query
	q.After, q.Limit = s.p.Cursor, min(bulkStepSize, max(1, int(s.p.Rate)))
	done, err := s.requeue(ctx, q, RequeueRequest{Action: RequeueRetry, Trigger: TriggerBulkRetry})
	s.requeued = done
	s.wait = time.Duration(float64(done) / s.p.Rate * float64(time.Second))
	return err
}

// sweep ends what the bulk retry had made due and nobody attempted. It goes through the pending deliveries
// that the query may have selected when they were finished.
func (s *bulkStep) sweep(ctx context.Context) error {
	if r := s.d.current.Load(); r != nil {
		r.handBack(r.queue.discard(func(c *Claim) bool { return c.BulkRetryID == s.p.ID }))
	}
	q := s.p.Query
	q.Status, q.States, q.ErrorCode, q.ResponseClass, q.FinishedSince = StatusPending, nil, "", 0, time.Time{}
	q.After, q.Limit = s.p.Swept, bulkStepSize
	done, err := s.requeue(ctx, q, RequeueRequest{Action: RequeueCancel, Code: CodeBulkRetryCancelled})
	s.canceled, s.matched = done, 0
	return err
}

func (s *bulkStep) requeue(ctx context.Context, q DeliveryQuery, req RequeueRequest) (done int64, err error) {
	page, err := s.d.store.ListDeliveries(ctx, s.d.now(), q)
	if err != nil || len(page) == 0 {
		return 0, err
	}
	req.Now, req.BulkRetryID = s.d.now(), s.p.ID
	for _, item := range page {
		req.IDs = append(req.IDs, item.ID)
	}
	results, err := s.d.store.Requeue(ctx, req)
	if err != nil {
		return 0, err
	}
	for _, result := range results {
		if result == RequeueDone {
			done++
		}
	}
	s.matched, s.last = int64(len(page)), page[len(page)-1].ID
	s.d.Wake()
	return done, nil
}

// apply adds the step to the progress. The row may be canceling by now.
func (s *bulkStep) apply(p *bulkProgress) {
	p.Matched += s.matched
	p.Requeued += s.requeued
	p.Skipped += s.matched - s.requeued
	p.Canceled += s.canceled
	swept := s.p.State == BulkRetryCanceling
	switch {
	case swept && s.last == "":
		p.finish(BulkRetryCanceled, s.d.now())
	case swept:
		p.Swept = s.last
	case s.last != "":
		p.Cursor = s.last
	case p.State == BulkRetryRunning:
		p.finish(BulkRetryDone, s.d.now())
	}
}
