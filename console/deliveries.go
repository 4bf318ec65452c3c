package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

// deliveryTable is a list of deliveries on a page.
type deliveryTable struct {
	layout
	Rows   []deliveryRow
	Select bool // with a box to tick
}

type deliveryRow struct {
	webhook.DeliveryListItem
	Endpoint string // its URL, or that it is gone
}

func (c *call) deliveryRows(items []webhook.DeliveryListItem) ([]deliveryRow, error) {
	names := map[string]string{}
	rows := make([]deliveryRow, len(items))
	for i, item := range items {
		name, known := names[item.EndpointID]
		if !known {
			var err error
			if name, err = c.endpointName(item.EndpointID); err != nil {
				return nil, err
			}
			names[item.EndpointID] = name
		}
		rows[i] = deliveryRow{item, name}
	}
	return rows, nil
}

const deletedEndpoint = "deleted endpoint"

func (c *call) endpointName(id string) (string, error) {
	e, err := c.d.GetEndpoint(c.r.Context(), id)
	if errors.Is(err, webhook.ErrNotFound) {
		return deletedEndpoint, nil
	}
	return shortURL(e.URL), err
}

// tab is one of the states to look at, with how many there are.
type tab struct {
	Name, Link string
	Current    bool
	Count      string
}

// filters are what the form shows as chosen.
type filters struct {
	EventType, EndpointID, EventID, ErrorCode, ResponseClass, State, Since, Until, FinishedSince string
	Status                                                                                       string
	Attributes                                                                                   map[string]string
	Tenant                                                                                       tenantFilter
	Codes                                                                                        []webhook.ErrorCode
	States                                                                                       []webhook.DeliveryState
	Any                                                                                          bool
}

// Ages are the choices of "since".
func (f filters) Ages() []choiceOfAge {
	ages := []choiceOfAge{{"", "Any time"}, {"1h", "Last hour"}, {"24h", "Last 24 hours"}, {"7d", "Last 7 days"}, {"30d", "Last 30 days"}}
	if !slices.ContainsFunc(ages, func(a choiceOfAge) bool { return a.Value == f.Since }) {
		ages = append(ages, choiceOfAge{f.Since, "Since " + f.Since})
	}
	return ages
}

// Classes are the choices of the last answer.
func (filters) Classes() []string { return []string{"2xx", "3xx", "4xx", "5xx"} }

type choiceOfAge struct{ Value, Text string }

func (c *call) deliveriesPage() error {
	p := c.formParams()
	q := p.deliveries()
	if p.err != nil {
		return p.err
	}
	start, page := time.Now(), q
	page.After, page.Limit = p.text("cursor"), defaultLimit+1
	items, quick, err := c.listQuickly(page)
	if err != nil {
		return err
	}
	list := cut(items, defaultLimit, deliveryID)
	rows, err := c.deliveryRows(list.Data)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(c.r.Context(), start.Add(pageTime))
	defer cancel()
	tabs, err := c.tabs(ctx, p, q, quick)
	if err != nil {
		return err
	}
	l := c.layout("deliveries", "Deliveries")
	l.Live = p.text("cursor") == "" && quick
	if !quick {
		l.Alert = "There are too many deliveries to find these few among them at once. Choose an endpoint, an error code or a time as well."
	}
	data := struct {
		layout
		Filters filters
		Tabs    []tab
		Table   deliveryTable
		Next    string
		First   string
		All     string // retries all that match
	}{layout: l, Filters: p.filters(), Tabs: tabs, Table: deliveryTable{layout: l, Rows: rows, Select: c.Write}}
	data.Filters.Any = len(p.without("status", "cursor")) > 0
	if list.NextCursor != nil {
		data.Next = "deliveries?" + p.with("cursor", *list.NextCursor).Encode()
	}
	if !l.Live {
		data.First = "deliveries?" + p.without("cursor").Encode()
	}
	data.All = "bulk-retries/new?" + p.without("cursor").Encode()
	return c.render(http.StatusOK, "deliveries", data)
}

func (p *params) filters() filters {
	get := p.values.Get
	return filters{
		EventType: get("eventType"), EndpointID: get("endpointId"), EventID: get("eventId"), ErrorCode: get("errorCode"),
		ResponseClass: get("responseClass"), State: get("state"), Since: get("since"), Until: get("until"),
		FinishedSince: get("finishedSince"), Status: get("status"), Attributes: p.attributes(), Tenant: p.tenantFilter(),
		Codes: webhook.ErrorCodes(), States: deliveryStates,
	}
}

// What the page of deliveries may take.
const (
	listTime  = 120 * time.Millisecond // a list for which stores have no index
	pageTime  = 160 * time.Millisecond // the list and all counts
	countRows = 500                    // of each count
)

// listQuickly gives up on a list that has to look at too much.
func (c *call) listQuickly(q webhook.DeliveryQuery) (items []webhook.DeliveryListItem, quick bool, err error) {
	if indexed(q) {
		items, err = c.listDeliveries(q)
		return items, true, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), listTime)
	defer cancel()
	items, err = c.listUntil(ctx, q)
	if err != nil && ctx.Err() != nil && c.r.Context().Err() == nil {
		return nil, false, nil
	}
	return items, true, err
}

// indexed reports whether stores find a list without looking at much else: see docs/queries.md.
func indexed(q webhook.DeliveryQuery) bool {
	if q.ResponseClass != 0 || len(q.Attributes) > 0 || len(q.States) > 0 || !q.FinishedSince.IsZero() {
		return false
	}
	if q.EventID != "" {
		return true
	}
	found := 0 // by what has an index, for one endpoint as well
	for _, asked := range []bool{q.EventType != "", q.ErrorCode != "", q.Status != ""} {
		if asked {
			found++
		}
	}
	return found == 0 || found == 1 && (q.Status == "" || q.Status == webhook.StatusFailed) && (q.EventType == "" || q.EndpointID == "")
}

// without are the parameters but for some, and but for those that say nothing.
func (p *params) without(names ...string) url.Values {
	rest := url.Values{}
	for name, values := range p.values {
		values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
		if name != "notice" && !slices.Contains(names, name) && len(values) > 0 {
			rest[name] = values
		}
	}
	return rest
}

func (p *params) with(name, value string) url.Values {
	rest := p.without(name, "cursor")
	rest.Set(name, value)
	return rest
}

// tabs counts what each status has. The counters know it at once where nothing but tenant and endpoint
// is asked for; else the list is read, so far and no further.
func (c *call) tabs(ctx context.Context, p *params, q webhook.DeliveryQuery, read bool) ([]tab, error) {
	tabs := []tab{{Name: "All"}, {Name: "Pending"}, {Name: "Delivered"}, {Name: "Failed"}}
	values := []webhook.DeliveryStatus{"", webhook.StatusPending, webhook.StatusSuccess, webhook.StatusFailed}
	counted := q
	counted.Status, counted.States = "", nil
	counts, known, err := c.countersOf(counted)
	if err != nil {
		return nil, err
	}
	for i, status := range values {
		rest := p.without("status", "state", "cursor")
		if status != "" {
			rest.Set("status", string(status))
		}
		tabs[i].Link = "deliveries?" + rest.Encode()
		tabs[i].Current = q.Status == status && len(q.States) == 0
		if known {
			tabs[i].Count = count(counts[i])
			continue
		}
		counted.Status = status
		if read {
			tabs[i].Count = c.boundedCount(ctx, counted)
		}
	}
	return tabs, nil
}

// countersOf are all, pending, delivered and failed, if q is no more than the counters know.
func (c *call) countersOf(q webhook.DeliveryQuery) (counts [4]int64, known bool, err error) {
	if q.EventID != "" || q.EventType != "" || q.ErrorCode != "" || q.ResponseClass != 0 || len(q.Attributes) > 0 ||
		!q.Since.IsZero() || !q.Until.IsZero() || !q.FinishedSince.IsZero() {
		return counts, false, nil
	}
	s, err := c.stats(webhook.StatsQuery{TenantID: q.TenantID, AllTenants: q.AllTenants, EndpointID: q.EndpointID})
	if err != nil {
		return counts, false, err
	}
	failed := s.Exhausted + s.Gone + s.Canceled + s.Expired
	return [4]int64{s.Pending + s.Succeeded + failed, s.Pending, s.Succeeded, failed}, true, nil
}

// boundedCount says how many there are, as far as that is had quickly.
func (c *call) boundedCount(ctx context.Context, q webhook.DeliveryQuery) string {
	q.Limit = countRows
	items, err := c.listUntil(ctx, q)
	switch {
	case err != nil:
		return "" // the list itself, which is asked for first, reports what is wrong
	case len(items) == countRows:
		return count(countRows) + "+"
	}
	return count(len(items))
}

// retrySelected asks, and then retries what was ticked.
func (c *call) retrySelected() error {
	if err := c.r.ParseForm(); err != nil {
		return newProblem(http.StatusBadRequest, "The form cannot be read.")
	}
	ids := slices.Compact(slices.Clone(c.r.PostForm["id"]))
	if len(ids) == 0 {
		return newProblem(http.StatusBadRequest, "Nothing is selected. Tick the deliveries to retry.")
	}
	if len(ids) > maxLimit {
		return newProblem(http.StatusBadRequest, "More than %d deliveries are selected. Retry all that match a filter instead.", maxLimit)
	}
	if c.r.PostFormValue("confirmed") != "yes" {
		return c.confirmSelected(ids)
	}
	notice := "selected"
	for _, id := range ids {
		switch err := c.requeue(id, c.d.Retry); {
		case errors.Is(err, webhook.ErrConflict):
			notice = "partly"
		case err != nil:
			return err
		}
	}
	c.goBack(notice)
	return nil
}

func (c *call) confirmSelected(ids []string) error {
	var items []webhook.DeliveryListItem
	for _, id := range ids {
		d, err := c.delivery(id)
		if err != nil {
			return err
		}
		items = append(items, d.DeliveryListItem)
	}
	rows, err := c.deliveryRows(items)
	if err != nil {
		return err
	}
	l := c.layout("deliveries", "Retry selected deliveries")
	back := c.r.PostFormValue("back")
	if !ownPage.MatchString(back) {
		back = "deliveries"
	}
	return c.render(http.StatusOK, "confirm", struct {
		layout
		Table deliveryTable
		IDs   []string
		Back  string
	}{l, deliveryTable{layout: l, Rows: rows}, ids, back})
}
