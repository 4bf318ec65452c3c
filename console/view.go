package console

import (
	"maps"
	"slices"

	"github.com/outhook/webhook"
)

// What belongs to another tenant does not exist: every read and every action goes through here.

func (c *call) delivery(id string) (webhook.Delivery, error) {
	d, err := c.d.GetDelivery(c.r.Context(), id)
	if err != nil {
		return d, err
	}
	if !c.sees(d.TenantID) {
		return webhook.Delivery{}, errNotFound
	}
	d.Event = c.shown(d.Event)
	return d, nil
}

func (c *call) event(id string) (webhook.Event, error) {
	e, err := c.d.GetEvent(c.r.Context(), id)
	if err != nil {
		return e, err
	}
	if !c.sees(e.TenantID) {
		return webhook.Event{}, errNotFound
	}
	return c.shown(e), nil
}

// shown is an event as it may be shown: headers may hold credentials, and the payload is the user's to
// redact.
func (c *call) shown(e webhook.Event) webhook.Event {
	if len(e.Headers) > 0 {
		masked := make(map[string]string, len(e.Headers))
		for name := range e.Headers {
			masked[name] = "[redacted]"
		}
		e.Headers = masked
	}
	if c.cfg.Redact != nil && e.Payload != nil {
		given := e
		given.Payload, given.Attributes = slices.Clone(e.Payload), maps.Clone(e.Attributes)
		e.Payload = c.cfg.Redact(c.r, given)
	}
	return e
}

func (c *call) endpoint(id string) (webhook.Endpoint, error) {
	e, err := c.d.GetEndpoint(c.r.Context(), id)
	if err != nil {
		return e, err
	}
	if !c.sees(e.TenantID) {
		return webhook.Endpoint{}, errNotFound
	}
	return e, nil
}

func (c *call) bulkRetry(id string) (webhook.BulkRetry, error) {
	b, err := c.d.GetBulkRetry(c.r.Context(), id)
	if err != nil {
		return b, err
	}
	if !c.AllTenants && (b.Query.AllTenants || b.Query.TenantID != c.TenantID) {
		return webhook.BulkRetry{}, errNotFound
	}
	return b, nil
}

// foreign reports an endpoint that is known to be another tenant's. To look for its records under one's
// own tenant would find nothing, but take longer the more it has. (A deleted endpoint has no owner.)
func (c *call) foreign(endpointID string) bool {
	if c.AllTenants || endpointID == "" {
		return false
	}
	e, err := c.d.GetEndpoint(c.r.Context(), endpointID)
	return err == nil && !c.sees(e.TenantID)
}

// stats are the counters of what is visible. What this process has in hand is of all tenants, so it is
// for operators only.
func (c *call) stats(q webhook.StatsQuery) (webhook.Stats, error) {
	if c.foreign(q.EndpointID) {
		return webhook.Stats{Hours: []webhook.HourStats{}}, nil
	}
	s, err := c.d.Stats(c.r.Context(), q)
	if !c.AllTenants {
		s.InFlight, s.Waiting = 0, 0
	}
	if s.Hours == nil {
		s.Hours = []webhook.HourStats{}
	}
	return s, err
}
