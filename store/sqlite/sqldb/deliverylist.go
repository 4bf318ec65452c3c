package sqldb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// ListDeliveries implements [webhook.Store]. Where nothing but filters that narrow are given and little
// passes them, a page may look at many rows; it ends with ctx and holds up nobody.
func (s *Store) ListDeliveries(ctx context.Context, now time.Time, lq webhook.DeliveryQuery) (out []webhook.DeliveryListItem, err error) {
	err = s.read(ctx, func(q *session) error {
		l := deliveryList{session: q, DeliveryQuery: lq, now: now.UnixMicro()}
		before, err := after(id.Delivery, lq.After)
		if err != nil {
			return err
		}
		found, err := l.conditions()
		if err != nil || !found {
			return err
		}
		from, err := l.from()
		if err == nil {
			from, err = l.withHanded(from)
		}
		if err != nil {
			return err
		}
		limit := int(pageSize(lq.Limit))
		var page []viewed
		err = walk(from, before, limit, func(keys []int64) (bool, error) {
			rows, err := l.pick(keys)
			page = append(page, rows...)
			return len(page) >= limit, err
		})
		if err != nil {
			return err
		}
		for i := range page[:min(limit, len(page))] {
			item, err := q.show(&page[i], l.now)
			if err != nil {
				return err
			}
			out = append(out, item)
		}
		return nil
	})
	return out, err
}

// deliveryList is a query on its way.
type deliveryList struct {
	*session
	webhook.DeliveryQuery
	now                         int64
	tenant, typ, endpoint, code int64  // numbers of what is asked for; 0: anything
	narrow                      filter // all that is asked for, applied to candidates
	handed                      []first
}

// pick returns those of the candidates that pass all filters, newest first.
func (l *deliveryList) pick(keys []int64) ([]viewed, error) {
	w := filter{terms: slices.Clip(l.narrow.terms), args: slices.Clip(l.narrow.args)}
	w.and(among("d.key"), jsonKeys(keys))
	rows, err := l.view(&w)
	if err != nil {
		return nil, err
	}
	handed, err := l.viewHanded(&w, l.handedIn(keys))
	rows = append(rows, handed...)
	rows = slices.DeleteFunc(rows, func(v viewed) bool { return !l.matches(v.item.Attributes) })
	slices.SortFunc(rows, func(a, b viewed) int { return descending(a.key, b.key) })
	return rows, err
}

// withHanded adds the deliveries that have no row, and may be asked for, to the candidates.
func (l *deliveryList) withHanded(from candidates) (candidates, error) {
	if l.code != 0 || l.only(webhook.StatusFailed) || l.only(webhook.StatusSuccess) {
		return from, nil
	}
	all, err := l.session.handed(``)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(f first) bool {
		return l.tenant != 0 && f.tenant != l.tenant || l.typ != 0 && f.typ != l.typ || l.endpoint != 0 && f.endpoint != l.endpoint
	})
	if l.EventID != "" {
		event, _, _ := id.Split(id.Event, l.EventID)
		all = slices.DeleteFunc(all, func(f first) bool { return f.event != event })
	}
	if l.handed, err = l.withoutRow(all); err != nil || len(l.handed) == 0 {
		return from, err
	}
	keys := make([]int64, len(l.handed))
	for i := range l.handed {
		keys[i] = l.handed[i].key
	}
	return union(from, given(keys)), nil
}

func (l *deliveryList) handedIn(keys []int64) (some []first) {
	if len(l.handed) == 0 {
		return nil
	}
	wanted := make(map[int64]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	for _, f := range l.handed {
		if wanted[f.key] {
			some = append(some, f)
		}
	}
	return some
}

func (l *deliveryList) matches(attributes map[string]string) bool {
	for k, v := range l.Attributes {
		if has, ok := attributes[k]; !ok || has != v {
			return false
		}
	}
	return true
}

// from chooses where candidates come from: what is likely to leave the fewest.
func (l *deliveryList) from() (from candidates, err error) {
	if l.EventID != "" {
		keys, err := l.deliveriesOf(l.EventID)
		return given(keys), err
	}
	if from, err = l.byAttributes(); err != nil || from != nil {
		return from, err
	}
	in := deliveryTimes.stretch(l.Since, l.Until)
	switch {
	case l.only(webhook.StatusPending):
		from = l.scoped("webhook_delivery_waiting", in, "state = 0")
	case l.code != 0:
		from = l.byCode(in)
	case l.only(webhook.StatusFailed):
		from = l.scoped("webhook_delivery_failed", in, "state >= 2")
	case l.endpoint != 0:
		from = union(l.indexed("webhook_delivery", "webhook_delivery_endpoint", in, "own = 0 AND endpoint = ?", l.endpoint),
			l.withOwn(in, l.endpoint))
	default:
		from = l.byEvents(in)
	}
	return deliveryTimes.with(l.session, from, l.Since, l.Until)
}

// scoped uses the form of an index that there is for endpoints, tenants and all.
func (l *deliveryList) scoped(index string, in stretch, terms string, args ...any) candidates {
	switch {
	case l.endpoint != 0:
		return l.indexed("webhook_delivery", index+"_endpoint", in, "endpoint = ? AND "+terms, append([]any{l.endpoint}, args...)...)
	case l.tenant != 0:
		return l.indexed("webhook_delivery", index+"_tenant", in, "tenant = ? AND "+terms, append([]any{l.tenant}, args...)...)
	}
	return l.indexed("webhook_delivery", index, in, terms, args...)
}

// byCode finds what has an error code, as that of its last attempt or else as that of its end.
func (l *deliveryList) byCode(in stretch) candidates {
	return union(
		l.scoped("webhook_delivery_last", in, "last_code = ?", l.code),
		l.scoped("webhook_delivery_end", in, "failure_code = ? AND last_code IS NOT failure_code", l.code),
	)
}

// byEvents finds the deliveries of a type, a tenant or both through their events.
func (l *deliveryList) byEvents(in stretch) candidates {
	return l.deliveriesByEvents(in, l.tenant, l.typ)
}

func (q *session) deliveriesByEvents(in stretch, tenant, typ int64) candidates {
	const some = " AND (deliveries IS NULL) = 0"
	apart := q.apart(in, tenant, typ)
	switch {
	case tenant != 0 && typ != 0:
		return union(apart, q.throughEvents("webhook_event_tenant_type", in, "tenant = ? AND type = ?"+some, tenant, typ))
	case tenant != 0:
		return union(apart, q.throughEvents("webhook_event_tenant", in, "tenant = ?"+some, tenant))
	case typ != 0:
		return union(apart, q.throughEvents("webhook_event_type", in, "type = ?"+some, typ))
	}
	return q.indexed("webhook_delivery", "", in, "")
}

// withOwn are the deliveries of an endpoint that have an attempt of their key.
func (q *session) withOwn(in stretch, endpoint int64) candidates {
	return q.indexed("webhook_delivery", "webhook_delivery_own", in, "own = 1 AND endpoint = ?", endpoint)
}

// apart are the deliveries that are not near their events.
func (q *session) apart(in stretch, tenant, typ int64) candidates {
	const terms = "key NOT BETWEEN event AND event + 209715200"
	switch {
	case tenant != 0:
		return q.indexed("webhook_delivery", "webhook_delivery_apart_tenant", in, "tenant = ? AND "+terms, tenant)
	case typ != 0:
		return q.indexed("webhook_delivery", "webhook_delivery_apart_type", in, "type = ? AND "+terms, typ)
	}
	return q.indexed("webhook_delivery", "webhook_delivery_apart", in, terms)
}

// only reports whether nothing is asked for but deliveries of one status.
func (l *deliveryList) only(status webhook.DeliveryStatus) bool {
	for _, s := range l.States {
		if s.Status() != status {
			return l.Status == status
		}
	}
	return len(l.States) > 0 || l.Status == status
}

// conditions gathers all filters. found is false if something is asked for that never was.
func (l *deliveryList) conditions() (found bool, err error) {
	w := &l.narrow
	if !l.AllTenants {
		if l.tenant, found, err = w.name(l.session, "d.tenant", l.TenantID); err != nil || !found {
			return false, err
		}
	}
	if l.EventType != "" {
		if l.typ, found, err = w.name(l.session, "d.type", l.EventType); err != nil || !found {
			return false, err
		}
	}
	if l.EndpointID != "" {
		if l.endpoint, err = l.endpointOf(l.EndpointID, l.tenant); err != nil || l.endpoint == 0 {
			return false, err
		}
		w.and("d.endpoint = ?", l.endpoint)
	}
	if l.ErrorCode != "" {
		if l.code, err = l.find(string(l.ErrorCode)); err != nil || l.code == 0 {
			return false, err
		}
		w.and("(d.last_code = ? OR d.failure_code = ?)", l.code, l.code)
	}
	switch l.Status {
	case "":
	case webhook.StatusPending:
		w.and("d.state = 0")
	case webhook.StatusSuccess:
		w.and("d.state = 1")
	case webhook.StatusFailed:
		w.and("d.state >= 2")
	default:
		return false, nil
	}
	if len(l.States) > 0 {
		w.and("(" + strings.Join(l.states(), " OR ") + ")")
	}
	if l.ResponseClass != 0 {
		w.and("d.last_status >= ? AND d.last_status < ?", int64(l.ResponseClass)*100, int64(l.ResponseClass+1)*100)
	}
	if !l.FinishedSince.IsZero() {
		w.and("d.state > 0 AND d.finished_at >= ?", ceilMicro(l.FinishedSince))
	}
	w.created("d.created_at", l.Since, l.Until)
	return true, nil
}

// states turns derived states into terms.
func (l *deliveryList) states() []string {
	const free = "d.state = 0 AND d.owner IS NULL"
	var terms []string
	for _, s := range l.States {
		switch s {
		case webhook.StateSending:
			terms = append(terms, "d.state = 0 AND d.owner IS NOT NULL")
		case webhook.StateHeld:
			terms = append(terms, free+" AND p.state IN (1, 2)")
		case webhook.StateScheduled:
			terms = append(terms, fmt.Sprintf("%s AND p.state NOT IN (1, 2) AND d.due_at > %d", free, l.now))
		case webhook.StateQueued:
			terms = append(terms, fmt.Sprintf("%s AND p.state NOT IN (1, 2) AND d.due_at <= %d", free, l.now))
		default:
			terms = append(terms, fmt.Sprintf("d.state = %d", slices.Index(deliveryStates, s)))
		}
	}
	return terms
}

// deliveriesOf returns the keys of an event's deliveries.
func (q *session) deliveriesOf(eventID string) ([]int64, error) {
	key, rest, ok := id.Split(id.Event, eventID)
	if !ok {
		return nil, nil
	}
	head, err := q.eventHead(key)
	if err != nil || head == nil || head.rest != rest {
		return nil, err
	}
	return keysOf(head.deliveries), nil
}

// few is up to how many endpoints of a tenant are asked each.
const few = 64

// fewEndpoints returns the endpoints of a tenant, unless it has more than a few.
func (q *session) fewEndpoints(tenant int64) (nums []int64, ok bool, err error) {
	nums = []int64{}
	err = q.query(func(r row) error {
		nums = append(nums, r.int(0))
		return nil
	}, `SELECT num FROM webhook_endpoint INDEXED BY webhook_endpoint_tenant WHERE tenant = ? LIMIT ?`, tenant, int64(few+1))
	return nums, len(nums) <= few, err
}

// endpointOf is 0 for another tenant's, too; 0 is any tenant. Its lists would be gone through in vain.
func (q *session) endpointOf(endpointID string, tenant int64) (num int64, err error) {
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return 0, nil
	}
	return q.int(`SELECT num FROM webhook_endpoint WHERE key = ? AND rest = ? AND ? IN (0, tenant)`, key, rest, tenant)
}

func (q *session) endpointNum(endpointID string) (num int64, err error) {
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return 0, nil
	}
	return q.int(`SELECT num FROM webhook_endpoint WHERE key = ? AND rest = ?`, key, rest)
}
