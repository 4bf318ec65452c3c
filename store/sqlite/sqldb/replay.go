package sqldb

import (
	"fmt"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// replay finds the endpoints that a stored event has no delivery to yet.
func (p *group) replay(f *freshEvent) (webhook.SendStatus, error) {
	if !p.careful {
		return 0, errAgain
	}
	head, err := p.eventHead(f.key)
	if err != nil {
		return 0, err
	}
	if head == nil || head.rest != f.rest {
		return webhook.SendGone, nil
	}
	had, err := p.deliveriesByEndpoint(head.deliveries)
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
		if e == nil {
			return 0, &webhook.ItemError{Err: fmt.Errorf("delivery %s: %w", n.ID, endpointNotFound(n.EndpointID))}
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
		if _, _, taken, err := p.deliveryAnywhere(f.deliveries[i].key); taken || err != nil {
			return webhook.SendTaken, err
		}
	}
	if len(f.missing) > 0 {
		f.replayed = head
		p.fresh = append(p.fresh, *f)
	}
	p.receipts = append(p.receipts, r)
	return webhook.SendStored, nil
}

// deliveriesByEndpoint leaves out what was pruned.
func (p *group) deliveriesByEndpoint(deliveries []ident) (map[int64]ident, error) {
	by := make(map[int64]ident, len(deliveries))
	for _, d := range deliveries {
		row, err := p.deliveryToChange(d.key)
		if err != nil {
			return nil, err
		}
		if row != nil && row.rest == d.rest {
			by[row.endpoint] = d
		}
	}
	return by, nil
}

// extend adds deliveries to an event's own list of them.
func (c *commit) extend(f *freshEvent) error {
	all := f.replayed.deliveries
	for _, i := range f.missing {
		all = append(all, f.deliveries[i])
	}
	return c.exec(`UPDATE webhook_event SET deliveries = ? WHERE key = ?`, pack(all), f.key)
}
