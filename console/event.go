package console

import (
	"net/http"

	"github.com/outhook/webhook"
)

func (c *call) eventsPage() error {
	p := c.formParams()
	q := p.events()
	if p.err != nil {
		return p.err
	}
	q.After, q.Limit = p.text("cursor"), defaultLimit+1
	events, err := c.d.ListEvents(c.r.Context(), q)
	if err != nil {
		return err
	}
	list := cut(events, defaultLimit, func(e webhook.Event) string { return e.ID })
	l := c.layout("events", "Events")
	l.Live = p.text("cursor") == ""
	data := struct {
		layout
		Events  []webhook.Event
		Filters filters
		Next    string
		First   string
	}{layout: l, Events: list.Data, Filters: p.filters()}
	data.Filters.Any = len(p.without("cursor")) > 0
	if list.NextCursor != nil {
		data.Next = "events?" + p.with("cursor", *list.NextCursor).Encode()
	}
	if !l.Live {
		data.First = "events?" + p.without("cursor").Encode()
	}
	return c.render(http.StatusOK, "events", data)
}

func (c *call) eventPage() error {
	e, err := c.event(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	items, err := c.d.ListDeliveries(c.r.Context(), webhook.DeliveryQuery{TenantID: e.TenantID, EventID: e.ID, Limit: defaultLimit + 1})
	if err != nil {
		return err
	}
	list := cut(items, defaultLimit, deliveryID)
	rows, err := c.deliveryRows(list.Data)
	if err != nil {
		return err
	}
	l := c.layout("events", e.Type)
	l.Live = true
	return c.render(http.StatusOK, "event", struct {
		layout
		webhook.Event
		Body  body
		Table deliveryTable
		More  bool
	}{l, e, newBody(e.ContentType, e.Payload), deliveryTable{layout: l, Rows: rows}, list.NextCursor != nil})
}
