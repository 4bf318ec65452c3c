package sqldb

import (
	"sync"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// handed remembers deliveries that were stored already leased, as all are that their sender delivers at
// once. Their results come soon, and a success can then be written without reading the row: what is
// remembered never changes, and the statement that writes makes sure of the rest.
type handed struct {
	mu        sync.Mutex
	now, last map[int64]first // by key; last is the map before now
}

// first is a delivery's row as it went in.
type first struct {
	rest, event, endpoint, tenant, typ int64
	created                            int64
}

// maxHanded is when the older half is forgotten. A dispatcher has a few thousand under way.
const maxHanded = 8192

func (h *handed) put(fresh []freshDelivery) {
	if len(fresh) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.now) >= maxHanded || h.now == nil {
		h.now, h.last = make(map[int64]first, len(fresh)), h.now
	}
	for i := range fresh {
		h.now[fresh[i].key] = fresh[i].first
	}
}

func (h *handed) forget(keys []int64) {
	if len(keys) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		delete(h.now, key)
		delete(h.last, key)
	}
}

// find fills rows with the deliveries that succeeded under their first lease, as they must stand in the
// database if they are as they went in, and returns the keys of those that must be read.
func (h *handed) find(outcomes []webhook.Outcome, rows map[int64]*delivery) (unknown []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := make([]delivery, 0, len(outcomes))
	for i := range outcomes {
		o := &outcomes[i]
		key, rest, ok := id.Split(id.Delivery, o.DeliveryID)
		if !ok || rows[key] != nil {
			continue
		}
		f, known := h.now[key]
		if !known {
			f, known = h.last[key]
		}
		if !known || f.rest != rest || o.Lease != 1 || o.Attempt == nil || o.Attempt.Status != webhook.AttemptSucceeded {
			unknown = append(unknown, key)
			continue
		}
		found = append(found, delivery{
			key: key, rest: rest, event: f.event, endpoint: f.endpoint, tenant: f.tenant, typ: f.typ, createdAt: f.created,
			owner: unread, lease: 1, firstTry: true, remembered: true,
			nextAt: none, dueAt: none, leasedAt: none, lastAt: none, lastStatus: none, expiresAt: none, finishedAt: none,
		})
		rows[key] = &found[len(found)-1]
	}
	return unknown
}

// unread is the owner of a lease that was not read.
const unread = -1
