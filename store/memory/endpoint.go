package memory

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/outhook/webhook"
)

// CreateEndpoint implements [webhook.Store].
func (s *Store) CreateEndpoint(ctx context.Context, row webhook.EndpointRow) (webhook.EndpointRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return webhook.EndpointRow{}, err
	}
	if s.endpoints[row.ID] != nil {
		return webhook.EndpointRow{}, fmt.Errorf("%w: endpoint %s exists already", webhook.ErrConflict, row.ID)
	}
	e := &endpoint{
		due:     queue[*delivery]{before: earlierDelivery, place: placeInDue},
		inOrder: queue[*delivery]{before: lowerDelivery, place: placeInOrder},
		hours:   map[int64]*webhook.HourStats{},
	}
	s.store(e, row)
	s.endpoints[row.ID] = e
	s.all.endpoints.put(e)
	s.tenant(row.TenantID).endpoints.put(e)
	return copyRow(e.row), nil
}

// UpdateEndpoint implements [webhook.Store]. The closure runs while the store is locked.
func (s *Store) UpdateEndpoint(ctx context.Context, id string, change func(*webhook.EndpointRow) error) (webhook.EndpointRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return webhook.EndpointRow{}, err
	}
	e := s.endpoints[id]
	if e == nil || e.row.Deleted() {
		return webhook.EndpointRow{}, endpointNotFound(id)
	}
	row := copyRow(e.row)
	if err := change(&row); err != nil {
		return webhook.EndpointRow{}, err
	}
	row.ID, row.TenantID, row.CreatedAt = e.row.ID, e.row.TenantID, e.row.CreatedAt
	s.store(e, row)
	return copyRow(e.row), nil
}

// GetEndpoint implements [webhook.Store].
func (s *Store) GetEndpoint(ctx context.Context, id string) (webhook.EndpointRow, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return webhook.EndpointRow{}, err
	}
	e := s.endpoints[id]
	if e == nil || e.erased {
		return webhook.EndpointRow{}, endpointNotFound(id)
	}
	return copyRow(e.row), nil
}

// ListEndpoints implements [webhook.Store].
func (s *Store) ListEndpoints(ctx context.Context, q webhook.EndpointQuery) ([]webhook.EndpointRow, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	matches := func(e *endpoint) bool {
		return !e.row.Deleted() && (len(q.States) == 0 || slices.Contains(q.States, e.row.State))
	}
	return page(&s.rowsOf(q.TenantID, q.AllTenants).endpoints, q.After, q.Limit, matches,
		func(e *endpoint) webhook.EndpointRow { return copyRow(e.row) }), nil
}

// SyncEndpoints implements [webhook.Store].
func (s *Store) SyncEndpoints(ctx context.Context, after int64, limit int) ([]webhook.EndpointRow, int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, 0, err
	}
	var out []webhook.EndpointRow
	start := sort.Search(len(s.changes), func(i int) bool { return s.changes[i].generation > after })
	for _, c := range s.changes[start:] {
		if len(out) >= limit {
			break
		}
		if c.current() {
			out = append(out, copyRow(c.endpoint.row))
		}
	}
	return out, s.generation, nil
}

// endpoint is a row with its part of the queue and its counters.
type endpoint struct {
	row     webhook.EndpointRow
	erased  bool                         // kept only to tell of its deletion
	due     queue[*delivery]             // the pending ones by nextAt and ID
	inOrder queue[*delivery]             // the pending ones by ID, if the endpoint is ordered
	leased  []*delivery                  // with a lease, run out or not, pending or not
	counts  webhook.Stats                // of deliveries by state
	hours   map[int64]*webhook.HourStats // by hours since 1970

	earliest int64 // from when on Claim finds something here
	inHeads  int   // place in Store.heads, from 1; 0: nothing to be claimed
}

func (e *endpoint) key() string { return e.row.ID }

// change is an entry of Store.changes. A later change of the same endpoint makes it void.
type change struct {
	generation int64
	endpoint   *endpoint
}

func (c change) current() bool { return c.endpoint.row.Generation == c.generation }

// store puts a row in its endpoint under the next generation.
func (s *Store) store(e *endpoint, row webhook.EndpointRow) {
	s.generation++
	row.Generation = s.generation
	row.CreatedAt, row.UpdatedAt, row.ReleasedAt = whole(row.CreatedAt), whole(row.UpdatedAt), whole(row.ReleasedAt)
	row.Health.FailingSince, row.Health.LastFailureAt = whole(row.Health.FailingSince), whole(row.Health.LastFailureAt)
	row.Health.LastSuccessAt = whole(row.Health.LastSuccessAt)
	e.row = copyRow(row)
	e.reorder()
	s.refresh(e)
	s.changes = append(s.changes, change{s.generation, e})
	if len(s.changes) > 64 && len(s.changes) > 2*len(s.endpoints) {
		s.changes = slices.DeleteFunc(s.changes, func(c change) bool { return !c.current() })
	}
}

// reorder builds or drops the queue by ID when Ordered was changed.
func (e *endpoint) reorder() {
	if e.row.Ordered == (e.inOrder.len() == e.due.len()) {
		return
	}
	for _, d := range e.due.items {
		if e.row.Ordered {
			e.inOrder.put(d)
		} else {
			e.inOrder.remove(d)
		}
	}
}

// enqueue puts d where its state and lease belong.
func (e *endpoint) enqueue(d *delivery) {
	if d.pending() {
		e.due.put(d)
		if e.row.Ordered {
			e.inOrder.put(d)
		}
	} else {
		e.due.remove(d)
		e.inOrder.remove(d)
	}
	switch {
	case d.leasedBy != "" && d.inLeased == 0:
		e.leased = append(e.leased, d)
		d.inLeased = len(e.leased)
	case d.leasedBy == "" && d.inLeased != 0:
		e.unlease(d)
	}
}

func (e *endpoint) dequeue(d *delivery) {
	e.due.remove(d)
	e.inOrder.remove(d)
	if d.inLeased != 0 {
		e.unlease(d)
	}
}

func (e *endpoint) unlease(d *delivery) {
	last := len(e.leased) - 1
	moved := e.leased[last]
	e.leased[d.inLeased-1], moved.inLeased = moved, d.inLeased
	e.leased[last] = nil
	e.leased = e.leased[:last]
	d.inLeased = 0
}

// next returns the delivery that is to be claimed first, and from when on it can be.
func (e *endpoint) next() (d *delivery, from int64) {
	if e.due.len() == 0 {
		return nil, 0
	}
	if !e.row.Ordered {
		d = e.due.first()
		return d, d.nextAt
	}
	d = e.inOrder.first()
	from = d.nextAt
	for _, l := range e.leased {
		from = max(from, l.nextAt)
	}
	return d, from
}

// refresh puts e where it belongs in the heads.
func (s *Store) refresh(e *endpoint) {
	d, from := e.next()
	if d == nil || e.row.State != webhook.EndpointEnabled {
		s.heads.remove(e)
		return
	}
	if e.inHeads == 0 || e.earliest != from {
		e.earliest = from
		s.heads.put(e)
	}
}

func earlierEndpoint(a, b *endpoint) bool { return a.earliest < b.earliest }
func placeInHeads(e *endpoint) *int       { return &e.inHeads }

func earlierDelivery(a, b *delivery) bool {
	return a.nextAt < b.nextAt || a.nextAt == b.nextAt && a.id < b.id
}
func lowerDelivery(a, b *delivery) bool { return a.id < b.id }
func placeInDue(d *delivery) *int       { return &d.inDue }
func placeInOrder(d *delivery) *int     { return &d.inOrder }

func copyRow(row webhook.EndpointRow) webhook.EndpointRow {
	row.Config = slices.Clone(row.Config)
	return row
}

func endpointNotFound(id string) error {
	return fmt.Errorf("%w: endpoint %s", webhook.ErrNotFound, id)
}
