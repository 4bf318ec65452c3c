package sqldb

import (
	"context"
	"encoding/json"
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
	own                                         int64 // 1: the attempt with its key is one of its own
	stored                                      listed
	dirty                                       bool
	firstTry                                    bool   // it has no more than its first lease, and no attempt yet
	folded                                      *first // it has no row yet
}

// listed are the columns that most indexes depend on: an UPDATE that names one writes its indexes anew,
// changed or not.
type listed struct{ state, lastCode, failureCode, own int64 }

func (d *delivery) listed() listed { return listed{d.state, d.lastCode, d.failureCode, d.own} }

const deliveryColumns = `key, rest, event, endpoint, tenant, type, state, next_at, due_at, owner, leased_at, lease,
	settled, attempts, failed, uncharged, deferrals, trigger, bulk, last_at, last_status, last_code, last_error,
	failure_code, expires_at, created_at, updated_at, finished_at, own`

func scanDelivery(r row) *delivery {
	d := &delivery{
		key: r.int(0), rest: r.int(1), event: r.int(2), endpoint: r.int(3), tenant: r.int(4), typ: r.int(5),
		state: r.int(6), nextAt: r.opt(7), dueAt: r.opt(8), owner: r.int(9), leasedAt: r.opt(10), lease: r.int(11),
		settled: r.int(12), attempts: r.int(13), failed: r.int(14), uncharged: r.int(15), deferrals: r.int(16),
		trigger: r.int(17), bulk: r.int(18), lastAt: r.opt(19), lastStatus: r.opt(20), lastCode: r.int(21),
		lastError: r.str(22), failureCode: r.int(23), expiresAt: r.opt(24), createdAt: r.int(25),
		updatedAt: r.int(26), finishedAt: r.opt(27), own: r.int(28),
	}
	d.stored = d.listed()
	return d
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

// deliveryAnywhere is deliveryIdent for deliveries that need not have a row.
func (q *session) deliveryAnywhere(key int64) (rest, event int64, found bool, err error) {
	if rest, event, found, err = q.deliveryIdent(key); found || err != nil {
		return rest, event, found, err
	}
	handed, err := q.handedAmong([]int64{key})
	if err != nil || len(handed) == 0 {
		return 0, 0, false, err
	}
	return handed[0].rest, handed[0].event, true, nil
}

// deliveryToChange reads a delivery's row, and makes it if it has none yet.
func (q *session) deliveryToChange(key int64) (*delivery, error) {
	d, err := q.deliveryByKey(key)
	if err != nil || d != nil {
		return d, err
	}
	if unfolded, err := q.unfold(key); err != nil || !unfolded {
		return nil, err
	}
	return q.deliveryByKey(key)
}

// existing returns those of an event's deliveries that were not pruned.
func (q *session) existing(ids []ident) ([]ident, error) {
	has, err := q.haveRows(keysOf(ids))
	if err != nil {
		return nil, err
	}
	var rest []int64
	for _, d := range ids {
		if !has[d.key] {
			rest = append(rest, d.key)
		}
	}
	handed, err := q.handedAmong(rest)
	for i := range handed {
		has[handed[i].key] = true
	}
	return slices.DeleteFunc(ids, func(d ident) bool { return !has[d.key] }), err
}

func (q *session) haveRows(keys []int64) (has map[int64]bool, err error) {
	has = make(map[int64]bool, len(keys))
	err = inKeys(keys, func(marks string, args []any) error {
		return q.query(func(r row) error {
			has[r.int(0)] = true
			return nil
		}, `SELECT key FROM webhook_delivery WHERE key IN (`+marks+`)`, args...)
	})
	return has, err
}

// save writes back what can change.
func (q *session) save(d *delivery) error {
	if d.listed() == d.stored {
		return q.exec(`UPDATE webhook_delivery SET `+setUnlisted+` WHERE key = ?`, d.changing()[4:]...)
	}
	d.stored = d.listed()
	return q.exec(`UPDATE webhook_delivery SET state = ?, last_code = ?, failure_code = ?, own = ?, `+setUnlisted+` WHERE key = ?`, d.changing()...)
}

const setUnlisted = `next_at = ?, due_at = ?, owner = ?, leased_at = ?, lease = ?, settled = ?, attempts = ?, failed = ?,
	uncharged = ?, deferrals = ?, trigger = ?, bulk = ?, last_at = ?, last_status = ?, last_error = ?, updated_at = ?, finished_at = ?`

// changing are the values of the columns that can change, the four of listed first, and the key.
func (d *delivery) changing() []any {
	return []any{
		d.state, ref(d.lastCode), ref(d.failureCode), d.own, opt(d.nextAt), opt(d.dueAt), ref(d.owner), opt(d.leasedAt),
		d.lease, d.settled, d.attempts, d.failed, d.uncharged, d.deferrals, d.trigger, ref(d.bulk), opt(d.lastAt),
		opt(d.lastStatus), text(d.lastError), d.updatedAt, opt(d.finishedAt), d.key,
	}
}

// insertWhole inserts rows with all their columns.
var insertWhole = newInserts(`INSERT INTO webhook_delivery (state, last_code, failure_code, own, next_at, due_at, owner, leased_at,
	lease, settled, attempts, failed, uncharged, deferrals, trigger, bulk, last_at, last_status, last_error, updated_at, finished_at,
	key, rest, event, endpoint, tenant, type, expires_at, created_at) VALUES`,
	`(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, `ON CONFLICT DO NOTHING`)

// insertSuccesses inserts rows of which plainSuccess is true, and whose attempt has their key.
var insertSuccesses = newInserts(`INSERT INTO webhook_delivery (key, rest, event, endpoint, tenant, type, last_at, last_status,
	created_at, updated_at, finished_at, state, lease, attempts, trigger, own) VALUES`,
	`(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 1, 1, 1)`, `ON CONFLICT DO NOTHING`)

// plainSuccess reports the usual end: the first attempt succeeded, now.
func (d *delivery) plainSuccess(now int64) bool {
	return d.firstTry && d.state == succeeded && d.owner == 0 && d.attempts == 1 && d.settled == 0 &&
		d.failed == 0 && d.uncharged == 0 && d.deferrals == 0 && d.bulk == 0 && d.trigger == triggerAutomatic &&
		d.lastCode == 0 && d.lastError == "" && d.updatedAt == now && d.finishedAt == now
}

// saveSuccesses saves rows of which plainSuccess is true, with what differs between them. An upsert is
// the cheapest way to update many rows by one statement; they all stand.
var saveSuccesses = newInserts(`INSERT INTO webhook_delivery
	(key, last_at, last_status, finished_at, own, rest, event, endpoint, tenant, type, created_at, updated_at) VALUES`,
	`(?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0)`,
	`ON CONFLICT (key) DO UPDATE SET state = 1, next_at = NULL, due_at = NULL, owner = NULL, leased_at = NULL,
		trigger = 1, attempts = 1, last_at = excluded.last_at, last_status = excluded.last_status,
		own = excluded.own, updated_at = excluded.finished_at, finished_at = excluded.finished_at
	WHERE `+isFirstTry)

// waits reports the usual outcome besides: the delivery, which was pending, is free again and due later.
func (d *delivery) waits() bool {
	l := d.listed()
	l.lastCode = d.stored.lastCode
	return d.state == pending && d.owner == 0 && d.nextAt == d.dueAt && l == d.stored
}

// saveWaiting saves rows of which waits is true, and saveWaitingCode those whose last code changed. Both
// are upserts as saveSuccesses is.
var (
	saveWaiting     = newSaveWaiting()
	saveWaitingCode = newSaveWaiting("last_code")
)

func newSaveWaiting(more ...string) *inserts {
	names := append([]string{"settled", "attempts", "failed", "uncharged", "deferrals", "trigger", "bulk",
		"last_at", "last_status", "last_error", "updated_at"}, more...)
	set := "next_at = excluded.due_at, due_at = excluded.due_at, owner = NULL, leased_at = NULL"
	for _, name := range names {
		set += ", " + name + " = excluded." + name
	}
	return newInserts(`INSERT INTO webhook_delivery (key, due_at, `+strings.Join(names, ", ")+`,
		rest, event, endpoint, tenant, type, created_at) VALUES`,
		`(?, ?`+strings.Repeat(", ?", len(names))+`, 0, 0, 0, 0, 0, 0)`,
		`ON CONFLICT (key) DO UPDATE SET `+set)
}

// waiting are the values for saveWaiting.
func (d *delivery) waiting() []any {
	return []any{d.key, d.dueAt, d.settled, d.attempts, d.failed, d.uncharged, d.deferrals, d.trigger, ref(d.bulk),
		opt(d.lastAt), opt(d.lastStatus), text(d.lastError), d.updatedAt}
}

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
		rows, err := q.view(w)
		if err == nil && len(rows) == 0 {
			var handed []first
			if handed, err = q.handedAmong([]int64{key}); err == nil {
				rows, err = q.viewHanded(w, handed)
			}
		}
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return notFound
		}
		item, err = q.show(&rows[0], now.UnixMicro())
		return err
	})
	return item, err
}

var viewDelivery = "d." + strings.Join(strings.Fields(deliveryColumns), " d.")

// viewSQL reads deliveries with what views need of their events and endpoints. CROSS JOIN keeps the
// order of the tables: deliveries first, by key.
func viewSQL(from string, w *filter) string {
	return `SELECT ` + viewDelivery + `, e.rest, e.attributes, p.key, p.rest, p.state, p.disabled_reason
	FROM ` + from + `
	CROSS JOIN webhook_endpoint p ON p.num = d.endpoint
	CROSS JOIN webhook_event e ON e.key = d.event` + w.where()
}

const viewColumns = 29 // those of the delivery

// viewed is a delivery as read, its names still to be looked up.
type viewed struct {
	*delivery
	item     webhook.DeliveryListItem
	endpoint webhook.EndpointState
	disabled string
}

// view reads what a filter selects, in no order.
func (q *session) view(w *filter) ([]viewed, error) {
	return q.viewFrom(`webhook_delivery d NOT INDEXED`, w)
}

// viewHanded is view for deliveries without a row. The filter looks at what their rows would hold.
func (q *session) viewHanded(w *filter, handed []first) ([]viewed, error) {
	if len(handed) == 0 {
		return nil, nil
	}
	rows := make([][]any, len(handed))
	for i := range handed {
		d := handed[i].delivery()
		rows[i] = []any{d.key, d.rest, d.event, d.endpoint, d.tenant, d.typ, d.nextAt, d.dueAt, d.owner, d.leasedAt, d.createdAt}
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	of := *w
	of.args = append([]any{string(list)}, w.args...)
	return q.viewFrom(handedRows, &of)
}

// handedRows has the columns of webhook_delivery, as [first.delivery] fills them.
const handedRows = `(SELECT value ->> 0 AS key, value ->> 1 AS rest, value ->> 2 AS event, value ->> 3 AS endpoint,
		value ->> 4 AS tenant, value ->> 5 AS type, 0 AS state, value ->> 6 AS next_at, value ->> 7 AS due_at,
		value ->> 8 AS owner, value ->> 9 AS leased_at, 1 AS lease, 0 AS settled, 0 AS attempts, 0 AS failed,
		0 AS uncharged, 0 AS deferrals, 0 AS trigger, NULL AS bulk, NULL AS last_at, NULL AS last_status,
		NULL AS last_code, NULL AS last_error, NULL AS failure_code, NULL AS expires_at, value ->> 10 AS created_at,
		value ->> 9 AS updated_at, NULL AS finished_at, 0 AS own
	FROM json_each(?)) d`

func (q *session) viewFrom(from string, w *filter) (rows []viewed, err error) {
	err = q.query(func(r row) error {
		attributes, err := r.stringMap(viewColumns + 1)
		if err != nil {
			return fmt.Errorf("the attributes of an event are damaged: %w", err)
		}
		d := scanDelivery(r)
		rows = append(rows, viewed{delivery: d, item: webhook.DeliveryListItem{
			EventID: id.Join(id.Event, d.event, r.int(viewColumns)), Attributes: attributes,
			EndpointID: id.Join(id.Endpoint, r.int(viewColumns+2), r.int(viewColumns+3)),
		}, endpoint: member(endpointStates, r.int(viewColumns+4)), disabled: r.str(viewColumns + 5)})
		return nil
	}, viewSQL(from, w), w.args...)
	return rows, err
}

// show fills in what a row says.
func (q *session) show(v *viewed, now int64) (webhook.DeliveryListItem, error) {
	d, item := v.delivery, v.item
	var errs [4]error
	item.TenantID, errs[0] = q.name(d.tenant)
	item.EventType, errs[1] = q.name(d.typ)
	var lastCode, failureCode string
	lastCode, errs[2] = q.name(d.lastCode)
	failureCode, errs[3] = q.name(d.failureCode)
	for _, err := range errs {
		if err != nil {
			return item, err
		}
	}
	item.ID, item.LastErrorCode, item.FailureCode = d.id(), webhook.ErrorCode(lastCode), webhook.ErrorCode(failureCode)
	item.State = d.shownState(v.endpoint, now)
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
		item.HoldReason = string(v.endpoint)
		if v.endpoint == webhook.EndpointDisabled && v.disabled != "" {
			item.HoldReason += ": " + v.disabled
		}
	}
	return item, nil
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
