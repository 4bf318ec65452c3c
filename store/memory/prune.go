package memory

import (
	"context"
	"fmt"
	"strings"

	"github.com/outhook/webhook"
)

// A round of Prune goes through the deliveries, oldest first, then through the events for those that
// never had any. The cursor is where it stands: a letter for the part and the last ID seen.
const (
	atDeliveries = "d"
	atEvents     = "e"
)

// Prune implements [webhook.Store].
func (s *Store) Prune(ctx context.Context, r webhook.PruneRequest) (webhook.PruneResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return webhook.PruneResult{}, err
	}
	part, after := atDeliveries, ""
	switch {
	case r.Cursor == "":
		s.pruneHours(r)
		s.pruneBulkRetries(r.FinishedBefore)
	case strings.HasPrefix(r.Cursor, atDeliveries), strings.HasPrefix(r.Cursor, atEvents):
		part, after = r.Cursor[:1], r.Cursor[1:]
	default:
		return webhook.PruneResult{}, fmt.Errorf("%w: cursor %q is not of this store", webhook.ErrInvalid, r.Cursor)
	}
	p := pruning{store: s, request: r, now: r.Now.UnixMicro(), left: max(r.Limit, 1)}
	if part == atDeliveries {
		if p.deliveries(after); p.result.Cursor != "" {
			return p.result, nil
		}
		after = ""
	}
	p.events(after)
	return p.result, nil
}

// pruneHours drops counters of attempts that completed before what is kept.
func (s *Store) pruneHours(r webhook.PruneRequest) {
	if r.FinishedBefore.IsZero() {
		return
	}
	oldest := r.FinishedBefore.Unix() / 3600
	for _, e := range s.endpoints {
		for hour := range e.hours {
			if hour < oldest {
				delete(e.hours, hour)
			}
		}
	}
}

type pruning struct {
	store   *Store
	request webhook.PruneRequest
	now     int64
	left    int // rows to look at
	result  webhook.PruneResult
}

func (p *pruning) deliveries(after string) {
	for _, d := range p.store.all.deliveries.up(after, p.left) {
		p.left -= 1 + len(d.attempts)
		p.result.Cursor = atDeliveries + d.id
		p.delivery(d)
		if p.left <= 0 {
			return
		}
	}
	p.result.Cursor = ""
}

func (p *pruning) delivery(d *delivery) {
	if !p.request.DetailBefore.IsZero() {
		for _, a := range d.attempts {
			if a.CompletedAt.Before(p.request.DetailBefore) && strip(&a.DeliveryAttempt, p.now) {
				p.result.Details++
			}
		}
	}
	if d.leased(p.now) {
		return
	}
	code, expires := d.endpoint.row.CancelPending, d.event.ExpiresAt
	switch {
	case !d.pending():
		if before := p.request.FinishedBefore; !before.IsZero() && d.endedAt < before.UnixMicro() {
			attempts, events := p.store.drop(d)
			p.result.Deliveries++
			p.result.Attempts += attempts
			p.result.Events += events
		}
	case code != "":
		d.end(webhook.StateCanceled, code, p.now)
		p.store.settle(d)
		p.result.Canceled++
	case !expires.IsZero() && expires.UnixMicro() <= p.now:
		d.end(webhook.StateExpired, webhook.CodeCancelledPastRetention, p.now)
		p.store.settle(d)
		p.result.Expired++
	}
}

func (p *pruning) events(after string) {
	if p.request.FinishedBefore.IsZero() {
		return
	}
	if p.left <= 0 {
		p.result.Cursor = atEvents + after
		return
	}
	seen := p.store.all.events.up(after, p.left)
	for _, e := range seen {
		if len(e.deliveries) == 0 && e.CreatedAt.Before(p.request.FinishedBefore) {
			p.store.dropEvent(e)
			p.result.Events++
		}
	}
	if len(seen) == p.left {
		p.result.Cursor = atEvents + seen[len(seen)-1].ID
	}
}

// strip takes headers and preview off an attempt, and reports whether there were any.
func strip(a *webhook.DeliveryAttempt, now int64) bool {
	if a.RequestHeaders == nil && a.ResponseHeaders == nil && a.ResponseBodyPreview == nil {
		return false
	}
	a.RequestHeaders, a.ResponseHeaders, a.ResponseBodyPreview = nil, nil, nil
	pruned := at(now)
	a.DetailPrunedAt, a.UpdatedAt = &pruned, pruned
	return true
}
