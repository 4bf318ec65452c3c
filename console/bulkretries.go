package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

func (c *call) bulkRetriesPage() error {
	p := c.formParams()
	q := webhook.BulkRetryQuery{After: p.text("cursor"), Limit: defaultLimit + 1}
	q.TenantID, q.AllTenants = p.tenant()
	if p.err != nil {
		return p.err
	}
	bulks, err := c.d.ListBulkRetries(c.r.Context(), q)
	if err != nil {
		return err
	}
	list := cut(bulks, defaultLimit, func(b webhook.BulkRetry) string { return b.ID })
	l := c.layout("bulk", "Bulk retries")
	l.Live = true
	data := struct {
		layout
		Rows []bulkRow
		Next string
	}{layout: l}
	for _, b := range list.Data {
		data.Rows = append(data.Rows, c.bulkRow(b))
	}
	if list.NextCursor != nil {
		data.Next = "bulk-retries?" + p.with("cursor", *list.NextCursor).Encode()
	}
	return c.render(http.StatusOK, "bulkretries", data)
}

// bulkRow is a bulk retry in words.
type bulkRow struct {
	webhook.BulkRetry
	Selects   []header
	Condition words
}

var bulkWords = map[webhook.BulkRetryState]words{
	webhook.BulkRetryRunning:   {"Running", "info", "It goes through the deliveries, newest first."},
	webhook.BulkRetryCanceling: {"Canceling", "warn", "It retries no more, and ends what was not attempted yet."},
	webhook.BulkRetryDone:      {"Done", "good", "All deliveries that match were seen."},
	webhook.BulkRetryCanceled:  {"Canceled", "mute", "It was canceled."},
}

func (c *call) bulkRow(b webhook.BulkRetry) bulkRow {
	return bulkRow{b, c.describe(b.Query), bulkWords[b.State]}
}

// describe says a query in words.
func (c *call) describe(q webhook.DeliveryQuery) []header {
	var list []header
	add := func(name, value string) {
		if value != "" {
			list = append(list, header{name, value})
		}
	}
	moment := func(name string, t time.Time) {
		if !t.IsZero() {
			add(name, t.UTC().Format("2006-01-02 15:04:05 UTC"))
		}
	}
	switch {
	case q.AllTenants:
		add("Tenant", "all")
	case q.TenantID != "":
		add("Tenant", q.TenantID)
	}
	add("Status", string(q.Status))
	add("State", strings.Join(texts(q.States), ", "))
	if e, err := c.endpoint(q.EndpointID); err == nil {
		add("Endpoint", shortURL(e.URL))
	} else {
		add("Endpoint", q.EndpointID)
	}
	add("Event", q.EventID)
	add("Event type", q.EventType)
	add("Error code", string(q.ErrorCode))
	if q.ResponseClass != 0 {
		add("Answer", strconv.Itoa(q.ResponseClass)+"xx")
	}
	moment("Created since", q.Since)
	moment("Created before", q.Until)
	moment("Ended since", q.FinishedSince)
	for _, h := range headers(q.Attributes) {
		add("Attribute "+h.Name, h.Value)
	}
	return list
}

// newBulkRetryPage says how many deliveries the filters of the list select, before anything happens.
func (c *call) newBulkRetryPage() error {
	p := c.formParams()
	q := bulkQuery(p.deliveries())
	if p.err != nil {
		return p.err
	}
	n, exact, err := c.countAll(q)
	if err != nil {
		return err
	}
	l := c.layout("deliveries", "Retry all that match")
	data := struct {
		layout
		Selects []header
		Fields  []header
		Count   string
		Any     bool
		Back    string
	}{layout: l, Selects: c.describe(q), Any: n > 0 || !exact, Count: count(n), Back: "deliveries?" + p.without("cursor").Encode()}
	switch {
	case !exact && n == 0:
		data.Count = "an unknown number of"
	case !exact:
		data.Count = "more than " + data.Count
	}
	for name, values := range encodeQuery(q) {
		for _, v := range values {
			data.Fields = append(data.Fields, header{name, v})
		}
	}
	slices.SortFunc(data.Fields, func(a, b header) int { return strings.Compare(a.Name+a.Value, b.Name+b.Value) })
	return c.render(http.StatusOK, "newbulkretry", data)
}

// bulkQuery is a list's query as a bulk retry takes it: what failed, if nothing else is said, up to now.
func bulkQuery(q webhook.DeliveryQuery) webhook.DeliveryQuery {
	if q.Status == "" && len(q.States) == 0 {
		q.Status = webhook.StatusFailed
	}
	if q.Until.IsZero() {
		q.Until = time.Now().UTC().Truncate(time.Microsecond)
	}
	return q
}

// What the count of a confirmation may cost.
const confirmTime = 120 * time.Millisecond

// countAll counts what a query selects, or says how many there are at least.
func (c *call) countAll(q webhook.DeliveryQuery) (n int, exact bool, err error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), confirmTime)
	defer cancel()
	q.Limit = countRows
	for {
		items, err := c.listUntil(ctx, q)
		switch {
		case err != nil && ctx.Err() != nil && c.r.Context().Err() == nil:
			return n, false, nil
		case err != nil:
			return n, false, err
		}
		n += len(items)
		if len(items) < countRows {
			return n, true, nil
		}
		q.After = items[len(items)-1].ID
	}
}

// encodeQuery is the inverse of params.deliveries.
func encodeQuery(q webhook.DeliveryQuery) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	moment := func(name string, t time.Time) {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if !q.AllTenants {
		v.Set("tenant", q.TenantID)
	}
	set("endpointId", q.EndpointID)
	set("eventId", q.EventID)
	set("eventType", q.EventType)
	set("status", string(q.Status))
	for _, s := range q.States {
		v.Add("state", string(s))
	}
	set("errorCode", string(q.ErrorCode))
	if q.ResponseClass != 0 {
		v.Set("responseClass", strconv.Itoa(q.ResponseClass))
	}
	moment("since", q.Since)
	moment("until", q.Until)
	moment("finishedSince", q.FinishedSince)
	for name, value := range q.Attributes {
		v.Set(attributeParam+name, value)
	}
	return v
}

func (c *call) createBulkRetry() error {
	if err := c.r.ParseForm(); err != nil {
		return newProblem(http.StatusBadRequest, "The form cannot be read.")
	}
	p := &params{call: c, values: c.r.PostForm, read: map[string]bool{}}
	q := p.deliveries()
	rate, err := strconv.ParseFloat(p.text("rate"), 64)
	if err != nil {
		p.refuse("rate", "The rate is not a number.")
	}
	if err := p.done(); err != nil {
		return err
	}
	b, err := c.d.BulkRetry(c.r.Context(), bulkQuery(q), webhook.BulkRetryOptions{Rate: rate})
	if err != nil {
		return err
	}
	c.redirect(http.StatusSeeOther, c.base()+"bulk-retries/"+b.ID)
	return nil
}

func (c *call) bulkRetryPage(alert *problem) error {
	b, err := c.bulkRetry(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	l := c.layout("bulk", "Bulk retry")
	l.Live = !b.State.Final()
	status := http.StatusOK
	if alert != nil {
		l.Alert, status = alert.Detail, alert.Status
	}
	if c.r.Method != http.MethodGet {
		l.Here = "bulk-retries/" + b.ID
	}
	return c.render(status, "bulkretry", struct {
		layout
		bulkRow
		CanCancel bool
	}{l, c.bulkRow(b), c.Write && b.State == webhook.BulkRetryRunning})
}

func (c *call) cancelBulkRetry() error {
	b, err := c.bulkRetry(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := c.d.CancelBulkRetry(c.r.Context(), b.ID); err != nil {
		if p := c.problemOf(err); p.Status == http.StatusConflict {
			return c.bulkRetryPage(p)
		}
		return err
	}
	c.redirect(http.StatusSeeOther, c.base()+"bulk-retries/"+b.ID+"?notice=stopped")
	return nil
}
