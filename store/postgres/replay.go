package postgres

import (
	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// replay finds the endpoints that a stored event has no delivery to yet. The event's row is locked, so of
// two replays at once the second sees what the first added.
func (p *group) replay(f *freshEvent) (webhook.SendStatus, error) {
	head := p.known.events[f.key]
	if head == nil || head.rest != f.rest {
		return webhook.SendGone, nil
	}
	if !p.careful {
		return 0, errAgain
	}
	had, err := p.deliveriesByEndpoint(head)
	if err != nil {
		return 0, err
	}
	r := receiptOf(f.NewEvent)
	r.Duplicate = true
	for i, n := range f.Deliveries {
		e, err := p.endpoint(p.result.Generation, n.EndpointID)
		if err != nil {
			return 0, err
		}
		if d, ok := had[e.num]; ok {
			r.DeliveryIDs[i] = id.Join(id.Delivery, d.key, d.rest)
		} else {
			f.missing = append(f.missing, i)
		}
		r.Duplicate = r.Duplicate && r.DeliveryIDs[i] != n.ID
	}
	if len(f.missing) > 0 && head.erased {
		return webhook.SendGone, nil
	}
	for _, i := range f.missing {
		if _, taken := p.known.deliveries[f.deliveries[i].key]; taken {
			return webhook.SendTaken, nil
		}
	}
	if len(f.missing) > 0 {
		f.replayed = head
		p.fresh = append(p.fresh, *f)
	}
	p.receipts = append(p.receipts, r)
	return webhook.SendStored, nil
}

// deliveriesByEndpoint leaves out what was pruned, and has what this batch adds.
func (p *group) deliveriesByEndpoint(h *eventHead) (map[int64]ident, error) {
	by := make(map[int64]ident, len(h.deliveries))
	err := p.query(func(r row) error {
		var d ident
		var endpoint int64
		err := r.Scan(&d.key, &d.rest, &endpoint)
		by[endpoint] = d
		return err
	}, `SELECT key, rest, endpoint FROM webhook.delivery WHERE key = ANY($1::bigint[])`, keysOf(h.deliveries))
	if err != nil {
		return nil, err
	}
	for _, f := range p.commit.fresh {
		for _, i := range f.missing {
			e, err := p.endpoint(p.result.Generation, f.Deliveries[i].EndpointID)
			if err != nil {
				return nil, err
			}
			if f.key == h.key {
				by[e.num] = f.deliveries[i]
			}
		}
	}
	return by, nil
}

// extend adds deliveries to an event's own list of them.
func (c *commit) extend(f *freshEvent) error {
	h := f.replayed
	for _, i := range f.missing {
		h.deliveries = append(h.deliveries, f.deliveries[i])
	}
	return c.exec(`UPDATE webhook.event SET deliveries = $1 WHERE key = $2`, pack(h.deliveries), f.key)
}
