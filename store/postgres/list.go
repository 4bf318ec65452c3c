package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// GetDelivery implements [webhook.Store].
func (s *Store) GetDelivery(ctx context.Context, now time.Time, deliveryID string) (item webhook.DeliveryListItem, err error) {
	err = s.read(ctx, func(q *session) error {
		var items []webhook.DeliveryListItem
		if key, rest, ok := id.Split(id.Delivery, deliveryID); ok {
			w := &filter{}
			w.and("d.key = ? AND d.rest = ?", key, rest)
			if items, err = q.items(viewSQL(listing{"webhook.delivery d", "d.key", w.terms}), w.args, now); err != nil {
				return err
			}
		}
		if len(items) == 0 {
			return fmt.Errorf("%w: delivery %s", webhook.ErrNotFound, deliveryID)
		}
		item = items[0]
		return nil
	})
	return item, err
}

// ListDeliveries implements [webhook.Store]. Attributes are compared here, page by page.
func (s *Store) ListDeliveries(ctx context.Context, now time.Time, lq webhook.DeliveryQuery) (out []webhook.DeliveryListItem, err error) {
	err = s.read(ctx, func(q *session) error {
		want := int(pageSize(lq.Limit))
		page := lq
		if len(lq.Attributes) > 0 {
			page.Limit = maxLimit
		}
		for {
			l := deliveryList{session: q, DeliveryQuery: page, now: now.UnixMicro()}
			sql, args, found, err := l.sql()
			if err != nil || !found {
				return err
			}
			items, err := q.items(sql, args, now)
			if err != nil {
				return err
			}
			for _, item := range items {
				if hasAttributes(item.Attributes, lq.Attributes) && len(out) < want {
					out = append(out, item)
				}
			}
			if len(out) == want || len(items) < int(pageSize(page.Limit)) {
				return nil
			}
			page.After = items[len(items)-1].ID
		}
	})
	return out, err
}

func hasAttributes(has, want map[string]string) bool {
	for k, v := range want {
		if got, ok := has[k]; !ok || got != v {
			return false
		}
	}
	return true
}

var viewColumns = deliveryColumns + `, v.rest, ` + optional("v.attributes") + `, p.key, p.rest, p.state, p.disabled_reason`

// viewSQL shows deliveries d with what belongs to them. The rows are found before anything is joined.
func viewSQL(s listing) string {
	return `SELECT ` + viewColumns + ` FROM ` + s.from + ` JOIN webhook.event v ON v.key = d.event
		JOIN webhook.endpoint p ON p.num = d.endpoint` + s.where() + ` ORDER BY ` + s.order + ` DESC`
}

func (q *session) items(sql string, args []any, now time.Time) (out []webhook.DeliveryListItem, err error) {
	return out, q.query(func(r row) error {
		var eventRest, key, rest, state int64
		var attributes string
		var reason []byte
		d, err := scanDelivery(r, &eventRest, &attributes, &key, &rest, &state, &reason)
		if err != nil {
			return err
		}
		item := webhook.DeliveryListItem{
			EventID: id.Join(id.Event, d.event, eventRest), EndpointID: id.Join(id.Endpoint, key, rest),
		}
		if item.Attributes, err = fromJSON[map[string]string](attributes); err != nil {
			return fmt.Errorf("the attributes of event %s are damaged: %w", item.EventID, err)
		}
		d.show(&item, member(endpointStates, state), string(reason), now.UnixMicro())
		out = append(out, item)
		return nil
	}, sql, args...)
}

// show fills in what a row says.
func (d *delivery) show(item *webhook.DeliveryListItem, endpoint webhook.EndpointState, disabled string, now int64) {
	item.ID, item.TenantID, item.EventType = d.id(), d.tenant, d.typ
	item.LastErrorCode, item.FailureCode = webhook.ErrorCode(d.lastCode), webhook.ErrorCode(d.failureCode)
	item.State = d.shownState(endpoint, now)
	item.Status = item.State.Status()
	item.AttemptCount, item.DeferralCount = int(d.attempts), int(d.deferrals)
	item.ExpiresAt, item.CreatedAt, item.UpdatedAt = timePtr(d.expiresAt), fromMicro(d.createdAt), fromMicro(d.updatedAt)
	if d.lastAt != none {
		item.LastAttempt = d.lastAttempt()
	}
	if d.state == pending {
		item.DueAt = timePtr(d.dueAt)
		if d.lastCode != "" && item.State != webhook.StateHeld {
			item.NextRetryAt = timePtr(d.dueAt)
		}
	}
	if item.State == webhook.StateHeld {
		item.HoldReason = string(endpoint)
		if endpoint == webhook.EndpointDisabled && disabled != "" {
			item.HoldReason += ": " + disabled
		}
	}
}

func (d *delivery) lastAttempt() *webhook.LastAttempt {
	l := &webhook.LastAttempt{AttemptedAt: fromMicro(d.lastAt)}
	if d.lastStatus != none {
		status := int(d.lastStatus)
		l.ResponseStatus = &status
	} else {
		text := string(d.lastError)
		l.ErrorMessage = &text
	}
	return l
}

// shownState derives what views show.
func (d *delivery) shownState(endpoint webhook.EndpointState, now int64) webhook.DeliveryState {
	switch {
	case d.state != pending:
		return member(deliveryStates, d.state)
	case d.owner != "":
		return webhook.StateSending
	case endpoint == webhook.EndpointPaused || endpoint == webhook.EndpointDisabled:
		return webhook.StateHeld
	case d.dueAt > now:
		return webhook.StateScheduled
	}
	return webhook.StateQueued
}

// deliveryList turns a query into SQL.
type deliveryList struct {
	*session
	webhook.DeliveryQuery
	now int64
}

func (l *deliveryList) sql() (sql string, args []any, found bool, err error) {
	w := &filter{of: "d."}
	if err := w.after(id.Delivery, l.After); err != nil {
		return "", nil, false, err
	}
	from, found, err := l.scope(w)
	if err != nil || !found {
		return "", nil, false, err
	}
	l.conditions(w)
	limit := " LIMIT " + w.arg(pageSize(l.Limit))
	sources := []listing{{from, "d.key", w.terms}}
	switch {
	case strings.HasPrefix(from, "("):
		sources[0].order = "q.key" // the planner does not see that this is the same
		sources = append(sources, listing{handedOver, "q.key", append(slices.Clone(w.terms), "NOT d.queued")})
	case l.EventID == "":
		sources = deliveryTimes.sources(w, l.Since, l.Until)
	}
	if l.ErrorCode != "" {
		sources = byCode(sources, w.arg(string(l.ErrorCode))+"::text")
	}
	return newestOf(sources, limit, viewSQL), w.args, true, nil
}

// byCode makes two lists of each, in the orders of their own indexes.
func byCode(sources []listing, code string) (out []listing) {
	for _, s := range sources {
		out = append(out,
			listing{s.from, s.order, append(slices.Clone(s.terms), "d.last_code = "+code)},
			listing{s.from, s.order, append(slices.Clone(s.terms), "d.failure_code = "+code+" AND d.last_code IS DISTINCT FROM "+code)})
	}
	return out
}

// scope selects by what an index can find, and says where from.
func (l *deliveryList) scope(w *filter) (from string, found bool, err error) {
	waiting := l.only(webhook.StatusPending) && l.EventID == "" && l.ErrorCode == ""
	queued := &filter{terms: []string{"NOT over"}} // with placeholders of w
	if l.After != "" {
		queued.terms = append(queued.terms, "key < $1") // as w.after has it
	}
	if l.only(webhook.StatusFailed) {
		w.and("d.ended_badly")
	}
	if l.EventType != "" {
		w.and("d.type = ?", l.EventType)
	}
	if !l.AllTenants {
		w.and("d.tenant = ?", l.TenantID)
		queued.terms = append(queued.terms, "tenant = $"+strconv.Itoa(len(w.args)))
	}
	if l.EndpointID != "" {
		num, err := l.endpointOf(l.EndpointID, l.AllTenants, l.TenantID)
		if err != nil || num == 0 {
			return "", false, err
		}
		w.and("d.endpoint = ?", num)
		queued.terms = append(queued.terms, "endpoint = $"+strconv.Itoa(len(w.args)))
	}
	if l.EventID != "" {
		keys, err := l.deliveriesOf(l.EventID)
		if err != nil || len(keys) == 0 {
			return "", false, err
		}
		w.and("d.key = ANY(?::bigint[])", keys)
	}
	if !waiting {
		return "webhook.delivery d", true, nil
	}
	// What is pending is few, as a rule: the queue goes first, whatever the planner thinks of it.
	return "(SELECT key FROM webhook.queue" + queued.where() + " ORDER BY key DESC OFFSET 0" + eachDelivery, true, nil
}

const (
	eachDelivery = `) q CROSS JOIN LATERAL (SELECT * FROM webhook.delivery WHERE key = q.key OFFSET 0) d`
	// handedOver is what is pending and not in the queue: as much as processes have under way.
	handedOver = `(SELECT h.key FROM webhook.note n CROSS JOIN LATERAL unnest(n.handed) AS h(key) ORDER BY 1 DESC OFFSET 0` + eachDelivery
)

// only reports whether nothing is asked for but deliveries of a status.
func (l *deliveryList) only(status webhook.DeliveryStatus) bool {
	for _, s := range l.States {
		if s.Status() != status {
			return l.Status == status
		}
	}
	return len(l.States) > 0 || l.Status == status
}

func (l *deliveryList) conditions(w *filter) {
	switch l.Status {
	case "":
	case webhook.StatusPending:
		w.and("d.state = 0")
	case webhook.StatusSuccess:
		w.and("d.state = 1")
	case webhook.StatusFailed:
		w.and("d.state >= 2")
	default:
		w.and("false")
	}
	if len(l.States) > 0 {
		w.and("(" + strings.Join(l.states(w), " OR ") + ")")
	}
	if l.ResponseClass != 0 {
		w.and("d.last_status >= ? AND d.last_status < ?", int64(l.ResponseClass)*100, int64(l.ResponseClass+1)*100)
	}
	if !l.FinishedSince.IsZero() {
		w.and("d.state > 0 AND d.finished_at >= ?", ceilMicro(l.FinishedSince))
	}
	w.between("created_at", l.Since, l.Until)
}

// states turns derived states into terms.
func (l *deliveryList) states(w *filter) []string {
	const free = "d.state = 0 AND d.owner IS NULL"
	now := w.arg(l.now) + "::bigint"
	used := false
	var terms []string
	for _, s := range l.States {
		switch s {
		case webhook.StateSending:
			terms = append(terms, "d.state = 0 AND d.owner IS NOT NULL")
		case webhook.StateHeld:
			terms = append(terms, free+" AND p.state IN (1, 2)")
		case webhook.StateScheduled:
			terms, used = append(terms, free+" AND p.state NOT IN (1, 2) AND d.due_at > "+now), true
		case webhook.StateQueued:
			terms, used = append(terms, free+" AND p.state NOT IN (1, 2) AND d.due_at <= "+now), true
		default:
			terms = append(terms, fmt.Sprintf("d.state = %d", slices.Index(deliveryStates, s)))
		}
	}
	if !used {
		terms = append(terms, "false AND "+now+" IS NULL") // a placeholder must not stand idle
	}
	return terms
}

// deliveriesOf returns the keys of an event's deliveries.
func (q *session) deliveriesOf(eventID string) ([]int64, error) {
	key, rest, ok := id.Split(id.Event, eventID)
	if !ok {
		return nil, nil
	}
	head, err := q.eventOf(key)
	if err != nil || head == nil || head.rest != rest {
		return nil, err
	}
	return keysOf(head.deliveries), nil
}
