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

// delivery is a row of the queue. Times are microseconds or none, names numbers or 0.
type delivery struct {
	key, rest, event, endpoint, tenant, typ     int64
	state                                       int64
	nextAt, dueAt, owner, leasedAt              int64
	lease, settled                              int64
	attempts, failed, uncharged, deferrals      int64
	trigger, bulk                               int64
	lastAt, lastStatus, lastCode                int64
	lastError                                   string
	failureCode                                 int64
	expiresAt, createdAt, updatedAt, finishedAt int64
	dirty                                       bool
	firstTry                                    bool // it has no more than its first lease, and no attempt yet
	remembered                                  bool // and was not read
}

const deliveryColumns = `key, rest, event, endpoint, tenant, type, state, next_at, due_at, owner, leased_at, lease,
	settled, attempts, failed, uncharged, deferrals, trigger, bulk, last_at, last_status, last_code, last_error,
	failure_code, expires_at, created_at, updated_at, finished_at`

func scanDelivery(r row) *delivery {
	return &delivery{
		key: r.int(0), rest: r.int(1), event: r.int(2), endpoint: r.int(3), tenant: r.int(4), typ: r.int(5),
		state: r.int(6), nextAt: r.opt(7), dueAt: r.opt(8), owner: r.int(9), leasedAt: r.opt(10), lease: r.int(11),
		settled: r.int(12), attempts: r.int(13), failed: r.int(14), uncharged: r.int(15), deferrals: r.int(16),
		trigger: r.int(17), bulk: r.int(18), lastAt: r.opt(19), lastStatus: r.opt(20), lastCode: r.int(21),
		lastError: r.str(22), failureCode: r.int(23), expiresAt: r.opt(24), createdAt: r.int(25),
		updatedAt: r.int(26), finishedAt: r.opt(27),
	}
}

func (d *delivery) id() string { return id.Join(id.Delivery, d.key, d.rest) }

// leased reports whether a lease is running, be the delivery pending or canceled under way.
func (d *delivery) leased(now int64) bool { return d.owner != 0 && d.nextAt > now }

// plainTrigger takes back that a claim came from a release: the next one will see for itself.
func (d *delivery) plainTrigger() {
	if d.trigger != triggerUnpause {
		return
	}
	d.trigger = triggerAutomatic
	if d.attempts == 0 {
		d.trigger = triggerInitial
	}
}

// end gives the delivery a final state. A lease that is running stays: its request may still succeed.
// A second success leaves the delivery ended when it was.
func (d *delivery) end(state, code, now int64) {
	if d.state != succeeded {
		d.finishedAt = now
	}
	d.state, d.failureCode, d.updatedAt, d.dueAt = state, code, now, none
	if d.owner == 0 {
		d.nextAt = none
	}
}

func (q *session) deliveriesByKey(keys []int64, into map[int64]*delivery) error {
	return inKeys(keys, func(marks string, args []any) error {
		return q.query(func(r row) error {
			d := scanDelivery(r)
			into[d.key] = d
			return nil
		}, `SELECT `+deliveryColumns+` FROM webhook_delivery WHERE key IN (`+marks+`)`, args...)
	})
}

// isFirstTry: under way under the first lease, and nothing has become of it yet.
const isFirstTry = `state = 0 AND lease = 1 AND owner IS NOT NULL AND settled = 0 AND attempts = 0 AND failed = 0
	AND uncharged = 0 AND deferrals = 0 AND trigger = 0 AND bulk IS NULL AND last_code IS NULL`

// firstTries reads those deliveries that are under way for the first time, as most are: few of their
// columns hold anything, and to read a column costs.
func (q *session) firstTries(keys []int64, into map[int64]*delivery) error {
	return inKeys(keys, func(marks string, args []any) error {
		return q.query(func(r row) error {
			into[r.int(0)] = &delivery{
				key: r.int(0), rest: r.int(1), event: r.int(2), endpoint: r.int(3), tenant: r.int(4), typ: r.int(5),
				nextAt: r.int(6), dueAt: r.int(7), owner: r.int(8), leasedAt: r.int(9), lease: 1,
				createdAt: r.int(10), updatedAt: r.int(11),
				lastAt: none, lastStatus: none, expiresAt: none, finishedAt: none, firstTry: true,
			}
			return nil
		}, `SELECT key, rest, event, endpoint, tenant, type, next_at, due_at, owner, leased_at, created_at, updated_at
			FROM webhook_delivery WHERE key IN (`+marks+`) AND expires_at IS NULL AND `+isFirstTry, args...)
	})
}

func (q *session) deliveryByKey(key int64) (d *delivery, err error) {
	_, err = q.one(func(r row) { d = scanDelivery(r) },
		`SELECT `+deliveryColumns+` FROM webhook_delivery WHERE key = ?`, key)
	return d, err
}

func (q *session) deliveryIdent(key int64) (rest, event int64, found bool, err error) {
	found, err = q.one(func(r row) { rest, event = r.int(0), r.int(1) },
		`SELECT rest, event FROM webhook_delivery WHERE key = ?`, key)
	return rest, event, found, err
}

// existing returns those of an event's deliveries that were not pruned.
func (q *session) existing(ids []ident) ([]ident, error) {
	has := make(map[int64]bool, len(ids))
	err := inKeys(keysOf(ids), func(marks string, args []any) error {
		return q.query(func(r row) error {
			has[r.int(0)] = true
			return nil
		}, `SELECT key FROM webhook_delivery WHERE key IN (`+marks+`)`, args...)
	})
	return slices.DeleteFunc(ids, func(d ident) bool { return !has[d.key] }), err
}

// save writes back what can change.
func (q *session) save(d *delivery) error {
	return q.exec(`UPDATE webhook_delivery SET state = ?, next_at = ?, due_at = ?, owner = ?, leased_at = ?,
		lease = ?, settled = ?, attempts = ?, failed = ?, uncharged = ?, deferrals = ?, trigger = ?, bulk = ?,
		last_at = ?, last_status = ?, last_code = ?, last_error = ?, failure_code = ?, updated_at = ?,
		finished_at = ? WHERE key = ?`,
		d.state, opt(d.nextAt), opt(d.dueAt), ref(d.owner), opt(d.leasedAt), d.lease, d.settled, d.attempts,
		d.failed, d.uncharged, d.deferrals, d.trigger, ref(d.bulk), opt(d.lastAt), opt(d.lastStatus),
		ref(d.lastCode), text(d.lastError), ref(d.failureCode), d.updatedAt, opt(d.finishedAt), d.key)
}

// plainSuccess reports the usual end: the first attempt succeeded, now.
func (d *delivery) plainSuccess(now int64) bool {
	return d.firstTry && d.state == succeeded && d.owner == 0 && d.attempts == 1 && d.settled == 0 &&
		d.failed == 0 && d.uncharged == 0 && d.deferrals == 0 && d.bulk == 0 && d.trigger == triggerAutomatic &&
		d.lastCode == 0 && d.lastError == "" && d.updatedAt == now && d.finishedAt == now
}

// saveSuccesses saves rows of which plainSuccess is true, with what differs between them. An upsert is
// the cheapest way to update many rows by one statement. Should one be missing, it is inserted, and
// changed in a way that shows: flushOutcomes asks for the last key that was inserted.
var saveSuccesses = newInserts(`INSERT INTO webhook_delivery
	(key, last_at, last_status, finished_at, rest, event, endpoint, tenant, type, created_at, updated_at) VALUES`,
	`(?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0)`,
	`ON CONFLICT (key) DO UPDATE SET state = 1, next_at = NULL, due_at = NULL, owner = NULL, leased_at = NULL,
		trigger = 1, attempts = 1, last_at = excluded.last_at, last_status = excluded.last_status,
		updated_at = excluded.finished_at, finished_at = excluded.finished_at
	WHERE `+isFirstTry)

// GetDelivery implements [webhook.Store].
func (s *Store) GetDelivery(ctx context.Context, now time.Time, deliveryID string) (item webhook.DeliveryListItem, err error) {
	err = s.read(ctx, func(q *session) error {
		notFound := fmt.Errorf("%w: delivery %s", webhook.ErrNotFound, deliveryID)
		key, rest, ok := id.Split(id.Delivery, deliveryID)
		if !ok {
			return notFound
		}
		w := &filter{}
		w.and("d.key = ? AND d.rest = ?", key, rest)
		items, err := q.items(viewSQL(w)+" LIMIT ?", append(w.args, int64(1)), now, 1, nil)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return notFound
		}
		item = items[0]
		return nil
	})
	return item, err
}

// ListDeliveries implements [webhook.Store].
func (s *Store) ListDeliveries(ctx context.Context, now time.Time, lq webhook.DeliveryQuery) (out []webhook.DeliveryListItem, err error) {
	err = s.read(ctx, func(q *session) error {
		l := deliveryList{session: q, DeliveryQuery: lq, now: now.UnixMicro()}
		sql, args, found, err := l.sql()
		if err != nil || !found {
			return err
		}
		var matches func(map[string]string) bool
		if len(lq.Attributes) > 0 {
			matches = l.matches
		}
		out, err = q.items(sql, args, now, int(pageSize(lq.Limit)), matches)
		return err
	})
	return out, err
}

func (l *deliveryList) matches(attributes map[string]string) bool {
	for k, v := range l.Attributes {
		if has, ok := attributes[k]; !ok || has != v {
			return false
		}
	}
	return true
}

var viewDelivery = "d." + strings.Join(strings.Fields(deliveryColumns), " d.")

// viewSQL reads deliveries with what views need of their events and endpoints. CROSS JOIN keeps the
// order of the tables: the delivery's index decides.
func viewSQL(w *filter) string {
	return `SELECT ` + viewDelivery + `, e.rest, e.attributes, p.key, p.rest, p.state, p.disabled_reason
	FROM webhook_delivery d ` + w.hint + `
	CROSS JOIN webhook_endpoint p ON p.num = d.endpoint
	CROSS JOIN webhook_event e ON e.key = d.event` + w.where() + ` ORDER BY d.key DESC`
}

const viewColumns = 28 // those of the delivery

// items runs a view and stops at limit; matches, if not nil, decides by the event's attributes.
func (q *session) items(sql string, args []any, now time.Time, limit int, matches func(map[string]string) bool) ([]webhook.DeliveryListItem, error) {
	type read struct {
		*delivery
		item     webhook.DeliveryListItem
		state    webhook.EndpointState
		disabled string
	}
	var rows []read
	err := q.query(func(r row) error {
		attributes, err := r.stringMap(viewColumns + 1)
		if err != nil {
			return fmt.Errorf("the attributes of an event are damaged: %w", err)
		}
		if matches != nil && !matches(attributes) {
			return nil
		}
		d := scanDelivery(r)
		rows = append(rows, read{delivery: d, item: webhook.DeliveryListItem{
			EventID: id.Join(id.Event, d.event, r.int(viewColumns)), Attributes: attributes,
			EndpointID: id.Join(id.Endpoint, r.int(viewColumns+2), r.int(viewColumns+3)),
		}, state: member(endpointStates, r.int(viewColumns+4)), disabled: r.str(viewColumns + 5)})
		if len(rows) == limit {
			return errStop
		}
		return nil
	}, sql, args...)
	if err != nil {
		return nil, err
	}
	var out []webhook.DeliveryListItem
	for i := range rows {
		r := &rows[i]
		if err := q.show(r.delivery, &r.item, r.state, r.disabled, now.UnixMicro()); err != nil {
			return nil, err
		}
		out = append(out, r.item)
	}
	return out, nil
}

// show fills in what a row says.
func (q *session) show(d *delivery, item *webhook.DeliveryListItem, endpoint webhook.EndpointState, disabled string, now int64) error {
	var errs [4]error
	item.TenantID, errs[0] = q.name(d.tenant)
	item.EventType, errs[1] = q.name(d.typ)
	var lastCode, failureCode string
	lastCode, errs[2] = q.name(d.lastCode)
	failureCode, errs[3] = q.name(d.failureCode)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	item.ID, item.LastErrorCode, item.FailureCode = d.id(), webhook.ErrorCode(lastCode), webhook.ErrorCode(failureCode)
	item.State = d.shownState(endpoint, now)
	item.Status = item.State.Status()
	item.AttemptCount, item.DeferralCount = int(d.attempts), int(d.deferrals)
	item.ExpiresAt, item.CreatedAt, item.UpdatedAt = timePtr(d.expiresAt), fromMicro(d.createdAt), fromMicro(d.updatedAt)
	if d.lastAt != none {
		item.LastAttempt = d.lastAttempt()
	}
	if d.state == pending {
		item.DueAt = timePtr(d.dueAt)
		if d.lastCode != 0 && item.State != webhook.StateHeld {
			item.NextRetryAt = timePtr(d.dueAt)
		}
	}
	if item.State == webhook.StateHeld {
		item.HoldReason = string(endpoint)
		if endpoint == webhook.EndpointDisabled && disabled != "" {
			item.HoldReason += ": " + disabled
		}
	}
	return nil
}

func (d *delivery) lastAttempt() *webhook.LastAttempt {
	l := &webhook.LastAttempt{AttemptedAt: fromMicro(d.lastAt)}
	if d.lastStatus != none {
		status := int(d.lastStatus)
		l.ResponseStatus = &status
	} else {
		text := d.lastError
		l.ErrorMessage = &text
	}
	return l
}

func timePtr(us int64) *time.Time {
	if us == none {
		return nil
	}
	t := fromMicro(us)
	return &t
}

// shownState derives what views show.
func (d *delivery) shownState(endpoint webhook.EndpointState, now int64) webhook.DeliveryState {
	switch {
	case d.state != pending:
		return member(deliveryStates, d.state)
	case d.owner != 0:
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
	if found, err := l.scope(w); err != nil || !found {
		return "", nil, false, err
	}
	l.conditions(w)
	limit := pageSize(l.Limit)
	if len(l.Attributes) > 0 {
		limit = -1 // items stops by itself
	}
	if l.ErrorCode == "" {
		return viewSQL(w) + " LIMIT ?", append(w.args, limit), true, nil
	}
	code, err := l.find(string(l.ErrorCode))
	if err != nil || code == 0 {
		return "", nil, false, err
	}
	// Two lists, each in the order of its own index, merged as they are read.
	last, why := *w, *w
	last.terms, last.args = slices.Clone(w.terms), slices.Clone(w.args)
	why.terms, why.args = slices.Clone(w.terms), slices.Clone(w.args)
	if l.EventID == "" {
		last.hint, why.hint = "INDEXED BY webhook_delivery_last_code", "INDEXED BY webhook_delivery_failure_code"
	}
	last.and("d.last_code = ?", code)
	why.and("d.failure_code = ? AND d.last_code IS NOT ?", code, code)
	sql = strings.TrimSuffix(viewSQL(&last), " ORDER BY d.key DESC") + " UNION ALL " +
		strings.TrimSuffix(viewSQL(&why), " ORDER BY d.key DESC") + " ORDER BY 1 DESC LIMIT ?"
	return sql, append(append(last.args, why.args...), limit), true, nil
}

// scope selects by what an index can find, and names the index.
func (l *deliveryList) scope(w *filter) (found bool, err error) {
	if err := w.after(id.Delivery, l.After); err != nil {
		return false, err
	}
	if l.EventType != "" {
		w.hint = "INDEXED BY webhook_delivery_type"
		if found, err := w.name(l.session, "d.type", l.EventType); err != nil || !found {
			return false, err
		}
	}
	if !l.AllTenants {
		w.hint = "INDEXED BY webhook_delivery_tenant"
		if l.failedOnly() {
			w.hint = "INDEXED BY webhook_delivery_failed"
			w.and("d.state >= 2")
		}
		if found, err := w.name(l.session, "d.tenant", l.TenantID); err != nil || !found {
			return false, err
		}
	}
	if l.EndpointID != "" {
		num, err := l.endpointNum(l.EndpointID)
		if err != nil || num == 0 {
			return false, err
		}
		w.hint = "INDEXED BY webhook_delivery_endpoint"
		w.and("d.endpoint = ?", num)
	}
	if l.EventID != "" {
		keys, err := l.deliveriesOf(l.EventID)
		if err != nil || len(keys) == 0 {
			return false, err
		}
		w.hint = "NOT INDEXED" // by key
		w.and("d.key IN (SELECT value FROM json_each(?))", jsonKeys(keys))
	}
	return true, nil
}

// failedOnly reports whether nothing is asked for but what failed for good.
func (l *deliveryList) failedOnly() bool {
	for _, s := range l.States {
		if s.Status() != webhook.StatusFailed {
			return l.Status == webhook.StatusFailed
		}
	}
	return len(l.States) > 0 || l.Status == webhook.StatusFailed
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
		w.and("0")
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
	w.created(l.Since, l.Until)
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

func jsonKeys(keys []int64) string {
	b := []byte{'['}
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%d", k)
	}
	return string(append(b, ']'))
}

func (q *session) endpointNum(endpointID string) (num int64, err error) {
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return 0, nil
	}
	return q.int(`SELECT num FROM webhook_endpoint WHERE key = ? AND rest = ?`, key, rest)
}
