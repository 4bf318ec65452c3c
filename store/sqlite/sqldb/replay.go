package sqldb

import (
	"fmt"

	"github.com/outhook/webhook"
)

// replayed finds the endpoints that a stored event has no delivery to yet.
func (p *group) replayed(f *freshEvent) (webhook.SendStatus, error) {
	head, err := p.eventHead(f.key)
	if err != nil {
		return 0, err
	}
	if head == nil || head.rest != f.rest {
		return webhook.SendGone, nil
	}
	r, err := p.unsent(f, head)
	if err != nil {
		return 0, err
	}
	if len(f.missing) > 0 {
		if head.erased {
			return webhook.SendGone, nil
		}
		for _, i := range f.missing {
			if _, _, taken, err := p.deliveryIdent(f.deliveries[i].key); err != nil || taken {
				return webhook.SendTaken, err
			}
		}
		if err := p.completeReplay(f); err != nil {
			return 0, err
		}
		f.replayed = head
		p.fresh = append(p.fresh, *f)
	}
	p.receipts = append(p.receipts, r)
	return webhook.SendStored, nil
}

// unsent fills in f.missing and makes the receipt.
func (p *group) unsent(f *freshEvent, head *eventHead) (r webhook.Receipt, err error) {
	there := map[int64]*delivery{}
	if err := p.deliveriesByKey(keysOf(head.deliveries), there); err != nil {
		return r, err
	}
	byEndpoint := map[int64]string{}
	for _, d := range there {
		byEndpoint[d.endpoint] = d.id()
	}
	r = receiptOf(f.NewEvent)
	r.Duplicate = true
	for i := range f.Deliveries {
		n := &f.Deliveries[i]
		e, err := p.endpoint(p.result.Generation, n.EndpointID)
		if err != nil {
			return r, err
		}
		if e == nil {
			return r, &webhook.ItemError{Err: fmt.Errorf("delivery %s: %w", n.ID, endpointNotFound(n.EndpointID))}
		}
		if deliveryID, found := byEndpoint[e.num]; found {
			r.DeliveryIDs[i] = deliveryID
		} else {
			f.missing = append(f.missing, i)
		}
		r.Duplicate = r.Duplicate && r.DeliveryIDs[i] != n.ID
	}
	return r, nil
}

// completeReplay takes from the stored event what its deliveries carry along.
func (p *group) completeReplay(f *freshEvent) error {
	n := *f.NewEvent
	var typ int64
	if _, err := p.one(func(r row) {
		f.tenant, typ, n.Event.ExpiresAt = r.int(0), r.int(1), r.time(2)
	}, `SELECT tenant, type, expires_at FROM webhook_event WHERE key = ?`, f.key); err != nil {
		return err
	}
	name, err := p.name(typ)
	n.Event.Type, f.NewEvent = name, &n
	return err
}
