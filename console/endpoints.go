package console

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

// endpointRow is an endpoint with how it fares.
type endpointRow struct {
	webhook.Endpoint
	health
	Condition words
	Succeeded int64 // attempts in the last 24 hours
	Failed    int64
	Pending   int64
}

// Rate is its success rate.
func (e endpointRow) Rate() string { return rate(e.Succeeded, e.Failed) }

// Tries are all attempts.
func (e endpointRow) Tries() int64 { return e.Succeeded + e.Failed }

// Share is its success rate in hundredths, for the picture.
func (e endpointRow) Share() float64 {
	if e.Tries() == 0 {
		return 0
	}
	return round(float64(e.Succeeded) / float64(e.Tries()) * 100)
}

func (c *call) endpointRow(e webhook.Endpoint, stats webhook.Stats) (endpointRow, error) {
	h, err := c.d.EndpointHealth(c.r.Context(), e.ID)
	if err != nil {
		return endpointRow{}, err
	}
	row := endpointRow{Endpoint: e, health: newHealth(h), Condition: condition(e, h), Pending: stats.Pending}
	for _, hour := range stats.Hours {
		row.Succeeded += hour.Succeeded
		row.Failed += hour.Failed
	}
	return row, nil
}

// condition is an endpoint's health in a word.
func condition(e webhook.Endpoint, h webhook.EndpointHealth) words {
	switch {
	case e.State == webhook.EndpointDisabled:
		return words{"Disabled", "bad", "Nothing is sent to it: " + readable(e.DisabledReason) + "."}
	case e.State == webhook.EndpointPaused:
		return words{"Paused", "warn", "Nothing is sent to it until it is released."}
	case h.Failures >= 10:
		return words{"Failing", "bad", "Nothing but failures for a while."}
	case h.Failures > 0:
		return words{"Unsteady", "warn", "The last attempts failed."}
	case h.LastSuccessAt.IsZero():
		return words{"New", "mute", "Nothing was delivered to it yet."}
	}
	return words{"Healthy", "good", "The last attempt succeeded."}
}

// Word, Tone and Says are for templates.
func (w words) Word() string { return w.word }
func (w words) Tone() string { return w.tone }
func (w words) Says() string { return w.says }

const endpointsShown = 25

func (c *call) endpointsPage() error {
	p := c.formParams()
	q := p.endpoints()
	if p.err != nil {
		return p.err
	}
	q.After, q.Limit = p.text("cursor"), endpointsShown+1
	endpoints, err := c.d.ListEndpoints(c.r.Context(), q)
	if err != nil {
		return err
	}
	list := cut(endpoints, endpointsShown, endpointID)
	l := c.layout("endpoints", "Endpoints")
	l.Live = p.text("cursor") == ""
	data := struct {
		layout
		Rows        []endpointRow
		Tabs        []tab
		Tenant      tenantFilter
		State       string
		Next, First string
	}{layout: l, Tenant: p.tenantFilter(), State: p.values.Get("state")}
	for _, e := range list.Data {
		stats, err := c.d.Stats(c.r.Context(), webhook.StatsQuery{AllTenants: true, EndpointID: e.ID})
		if err != nil {
			return err
		}
		row, err := c.endpointRow(e, stats)
		if err != nil {
			return err
		}
		data.Rows = append(data.Rows, row)
	}
	for i, state := range append([]webhook.EndpointState{""}, endpointStates...) {
		rest := p.without("state", "cursor")
		if state != "" {
			rest.Set("state", string(state))
		}
		data.Tabs = append(data.Tabs, tab{
			Name: []string{"All", "Enabled", "Paused", "Disabled"}[i], Link: "endpoints?" + rest.Encode(), Current: data.State == string(state),
		})
	}
	if list.NextCursor != nil {
		data.Next = "endpoints?" + p.with("cursor", *list.NextCursor).Encode()
	}
	if !l.Live {
		data.First = "endpoints?" + p.without("cursor").Encode()
	}
	return c.render(http.StatusOK, "endpoints", data)
}

func (c *call) endpointPage(alert *problem, fresh *rotated) error {
	e, err := c.endpoint(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	now := time.Now()
	stats, err := c.d.Stats(c.r.Context(), webhook.StatsQuery{
		AllTenants: true, EndpointID: e.ID, Since: now.Add(-24 * time.Hour).Truncate(time.Hour), Until: now.Add(time.Hour),
	})
	if err != nil {
		return err
	}
	row, err := c.endpointRow(e, stats)
	if err != nil {
		return err
	}
	items, err := c.d.ListDeliveries(c.r.Context(), webhook.DeliveryQuery{TenantID: e.TenantID, EndpointID: e.ID, Limit: 10})
	if err != nil {
		return err
	}
	rows, err := c.deliveryRows(items)
	if err != nil {
		return err
	}
	l := c.layout("endpoints", shortURL(e.URL))
	l.Live = fresh == nil
	status := http.StatusOK
	if alert != nil {
		l.Alert, status = alert.Detail, alert.Status
	}
	if c.r.Method != http.MethodGet {
		l.Here = "endpoints/" + e.ID
	}
	return c.render(status, "endpoint", struct {
		layout
		endpointRow
		Charts charts
		Stats  webhook.Stats
		Table  deliveryTable
		Fresh  *rotated
		Match  []header
		Meta   []header
		Sent   []header
	}{
		l, row, newCharts(stats.Hours, now, 24*time.Hour), stats, deliveryTable{layout: l, Rows: rows}, fresh,
		headers(e.Match), headers(e.Metadata), headers(e.Headers),
	})
}

// actOnEndpoint does something to an endpoint and shows its page, with what was done or why not.
func actOnEndpoint(notice string, act func(d *webhook.Dispatcher, ctx context.Context, endpointID string) error) func(*call) error {
	return onEndpoint(func(c *call, id string) error {
		if err := act(c.d, c.r.Context(), id); err != nil {
			if p := c.problemOf(err); p.Status < 500 && p.Status != http.StatusNotFound {
				return c.endpointPage(p, nil)
			}
			return err
		}
		c.redirect(http.StatusSeeOther, c.base()+"endpoints/"+id+"?notice="+notice)
		return nil
	})
}

func (c *call) disableEndpoint() error {
	reason := c.r.PostFormValue("reason")
	return actOnEndpoint("disable", func(d *webhook.Dispatcher, ctx context.Context, id string) error {
		return d.DisableEndpoint(ctx, id, reason)
	})(c)
}

func ping(d *webhook.Dispatcher, ctx context.Context, endpointID string) error {
	_, err := d.PingEndpoint(ctx, endpointID)
	return err
}

var graces = map[string]time.Duration{"": 0, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "now": -1}

// rotateSecret shows the new secret in its answer: it stands nowhere else.
func (c *call) rotateSecret(id string) error {
	grace, known := graces[c.r.PostFormValue("grace")]
	if !known {
		return badField("grace", "grace is none of 24h, 7d and now.")
	}
	secret, err := c.d.RotateSecret(c.r.Context(), id, grace)
	if err != nil {
		return err
	}
	fresh := newRotated(secret)
	return c.endpointPage(nil, &fresh)
}

// Types is what it subscribes to.
func (e endpointRow) Types() []string {
	if len(e.EventTypes) == 0 || slices.Contains(e.EventTypes, "*") {
		return []string{"all events"}
	}
	return e.EventTypes
}
