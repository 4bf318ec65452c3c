package console

import (
	"net/http"
	"time"

	"github.com/outhook/webhook"
)

func (c *call) overview() error {
	p := c.formParams()
	tenantID, all := p.tenant()
	if p.err != nil {
		return p.err
	}
	span := 24 * time.Hour
	if p.text("range") == "7d" {
		span = 7 * 24 * time.Hour
	}
	now := time.Now()
	stats, err := c.stats(webhook.StatsQuery{TenantID: tenantID, AllTenants: all, Since: now.Add(-span).Truncate(time.Hour), Until: now.Add(time.Hour)})
	if err != nil {
		return err
	}
	failed, err := c.d.ListDeliveries(c.r.Context(), webhook.DeliveryQuery{TenantID: tenantID, AllTenants: all, Status: webhook.StatusFailed, Limit: 6})
	if err != nil {
		return err
	}
	rows, err := c.deliveryRows(failed)
	if err != nil {
		return err
	}
	stopped, err := c.d.ListEndpoints(c.r.Context(), webhook.EndpointQuery{
		TenantID: tenantID, AllTenants: all, States: []webhook.EndpointState{webhook.EndpointDisabled, webhook.EndpointPaused}, Limit: 6,
	})
	if err != nil {
		return err
	}
	l := c.layout("overview", "Overview")
	l.Live = true
	return c.render(http.StatusOK, "overview", struct {
		layout
		webhook.Stats
		Charts  charts
		Range   string
		Failed  deliveryTable
		Stopped []webhook.Endpoint
		Tenant  tenantFilter
		Lost    int64
	}{
		l, stats, newCharts(stats.Hours, now, span), p.text("range"), deliveryTable{layout: l, Rows: rows},
		stopped, p.tenantFilter(), stats.Exhausted + stats.Gone + stats.Expired,
	})
}

// tenantFilter is the operator's choice of a tenant. Those who have one need not be asked.
type tenantFilter struct {
	Shown bool
	Value string
	Set   bool
}

func (p *params) tenantFilter() tenantFilter {
	return tenantFilter{Shown: p.AllTenants, Value: p.values.Get("tenant"), Set: p.values.Get("tenant") != ""}
}
