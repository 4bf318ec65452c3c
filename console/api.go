package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
)

func apiRoutes() []route {
	return []route{
		{pattern: "GET /webhook-deliveries", serve: (*call).apiDeliveries},
		{pattern: "GET /webhook-deliveries/{id}", serve: (*call).apiDelivery},
		{pattern: "GET /webhook-deliveries/{id}/attempts", serve: (*call).apiDeliveryAttempts},
		{pattern: "POST /webhook-deliveries/{id}/retry", serve: (*call).apiRetry},
		{pattern: "POST /webhook-deliveries/{id}/cancel", serve: (*call).apiCancel},
		{pattern: "GET /webhook-attempts", serve: (*call).apiAttempts},
		{pattern: "GET /webhook-events", serve: (*call).apiEvents},
		{pattern: "GET /webhook-events/{id}", serve: (*call).apiEvent},
		{pattern: "GET /webhook-endpoints", serve: (*call).apiEndpoints},
		{pattern: "GET /webhook-endpoints/{id}", serve: (*call).apiEndpoint},
		{pattern: "POST /webhook-endpoints/{id}/pause", serve: apiSwitch((*webhook.Dispatcher).PauseEndpoint)},
		{pattern: "POST /webhook-endpoints/{id}/unpause", serve: apiSwitch((*webhook.Dispatcher).UnpauseEndpoint)},
		{pattern: "POST /webhook-endpoints/{id}/enable", serve: apiSwitch((*webhook.Dispatcher).EnableEndpoint)},
		{pattern: "POST /webhook-endpoints/{id}/disable", serve: onEndpoint((*call).apiDisable)},
		{pattern: "POST /webhook-endpoints/{id}/ping", serve: onEndpoint((*call).apiPing)},
		{pattern: "POST /webhook-endpoints/{id}/rotate-secret", serve: onEndpoint((*call).apiRotateSecret)},
		{pattern: "GET /webhook-stats", serve: (*call).apiStats},
		{pattern: "GET /webhook-bulk-retries", serve: (*call).apiBulkRetries},
		{pattern: "POST /webhook-bulk-retries", serve: (*call).apiCreateBulkRetry},
		{pattern: "GET /webhook-bulk-retries/{id}", serve: (*call).apiBulkRetry},
		{pattern: "POST /webhook-bulk-retries/{id}/cancel", serve: (*call).apiCancelBulkRetry},
		{pattern: "GET /openapi.json", serve: (*call).openAPI},
	}
}

func (c *call) json(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(body, '\n'))
	return nil
}

// body reads a JSON object, or nothing where nothing need be said. A form cannot pass for one.
func (c *call) body(into any) error {
	data, err := io.ReadAll(c.r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return errTooLarge
		}
		return newProblem(http.StatusBadRequest, "The request broke off.")
	}
	if len(data) == 0 {
		return nil
	}
	if kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); kind != "application/json" {
		return newProblem(http.StatusUnsupportedMediaType, "The body is not application/json.")
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return newProblem(http.StatusBadRequest, "The body cannot be read: %v.", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return newProblem(http.StatusBadRequest, "The body is more than one JSON object.")
	}
	return nil
}

func (c *call) apiDeliveries() error {
	p := c.params()
	q, limit, shape := p.deliveries(), p.limit(), choice(p, "shape", []string{"list-item", "delivery"})
	q.After, q.Limit = p.text("cursor"), limit+1
	if err := p.done(); err != nil {
		return err
	}
	items, err := c.listDeliveries(q)
	if err != nil {
		return err
	}
	list := cut(items, limit, deliveryID)
	if shape == "delivery" {
		return c.json(http.StatusOK, list)
	}
	return c.json(http.StatusOK, mapped(list, schema.NewDeliveryListItem))
}

func deliveryID(item webhook.DeliveryListItem) string { return item.ID }

func (c *call) listDeliveries(q webhook.DeliveryQuery) ([]webhook.DeliveryListItem, error) {
	return c.listUntil(c.r.Context(), q)
}

// listUntil lists with a context of its own.
func (c *call) listUntil(ctx context.Context, q webhook.DeliveryQuery) (items []webhook.DeliveryListItem, err error) {
	if c.foreign(q.EndpointID) {
		return nil, nil
	}
	queries := byAnswer(q)
	for _, q := range queries {
		some, err := c.d.ListDeliveries(ctx, q)
		if err != nil {
			return nil, err
		}
		items = append(items, some...)
	}
	if len(queries) > 1 {
		slices.SortFunc(items, func(a, b webhook.DeliveryListItem) int { return strings.Compare(b.ID, a.ID) })
		items = items[:min(len(items), q.Limit)]
	}
	return items, nil
}

// byAnswer asks for an answer that was no success by its error code as well: for that stores have an index.
func byAnswer(q webhook.DeliveryQuery) []webhook.DeliveryQuery {
	if q.ResponseClass == 0 || q.ResponseClass == 2 || q.ErrorCode != "" || q.EventID != "" {
		return []webhook.DeliveryQuery{q}
	}
	q.ErrorCode = webhook.CodeBadResponse
	if q.ResponseClass != 4 {
		return []webhook.DeliveryQuery{q}
	}
	gone := q // 410
	gone.ErrorCode = webhook.CodeEndpointGone
	return []webhook.DeliveryQuery{q, gone}
}

// fullDelivery is a DeliveryListItem with all that a list leaves out.
type fullDelivery struct {
	schema.DeliveryListItem
	TenantID      string                `json:"tenantId"`
	State         webhook.DeliveryState `json:"state"`
	MaxAttempts   *int                  `json:"maxAttempts"`
	DeferralCount int                   `json:"deferralCount"`
	LastErrorCode *webhook.ErrorCode    `json:"lastErrorCode"`
	FailureCode   *webhook.ErrorCode    `json:"failureCode"`
	HoldReason    *string               `json:"holdReason"`
	DueAt         any                   `json:"dueAt"`
	ExpiresAt     any                   `json:"expiresAt"`
	Attributes    map[string]string     `json:"attributes"`
	Event         webhook.Event         `json:"event"`
	Attempts      []any                 `json:"attempts"`
}

func newFullDelivery(d webhook.Delivery, shape string) fullDelivery {
	full := fullDelivery{
		DeliveryListItem: schema.NewDeliveryListItem(d.DeliveryListItem),
		TenantID:         d.TenantID, State: d.State, MaxAttempts: d.MaxAttempts, DeferralCount: d.DeferralCount,
		LastErrorCode: orNull(d.LastErrorCode), FailureCode: orNull(d.FailureCode), HoldReason: orNull(d.HoldReason),
		DueAt: d.DueAt, ExpiresAt: d.ExpiresAt, Attributes: d.Attributes, Event: d.Event, Attempts: []any{},
	}
	for _, a := range d.Attempts {
		full.Attempts = append(full.Attempts, attemptIn(shape, a))
	}
	return full
}

func orNull[T ~string](v T) *T {
	if v == "" {
		return nil
	}
	return &v
}

// The shapes of attempts; the first is this product's own.
var attemptShapes = []string{"attempt", "invocation-attempt", "delivery-attempt", "event-attempt"}

func attemptIn(shape string, a webhook.DeliveryAttempt) any {
	switch shape {
	case "invocation-attempt":
		return schema.NewInvocationAttempt(a)
	case "delivery-attempt":
		return schema.NewDeliveryAttempt(a)
	case "event-attempt":
		return schema.NewEventAttempt(a)
	}
	return a
}

func (c *call) apiDelivery() error {
	p := c.params()
	shape := choice(p, "shape", attemptShapes)
	if err := p.done(); err != nil {
		return err
	}
	d, err := c.delivery(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, newFullDelivery(d, shape))
}

func (c *call) apiDeliveryAttempts() error {
	p := c.params()
	shape := choice(p, "shape", attemptShapes)
	if err := p.done(); err != nil {
		return err
	}
	d, err := c.delivery(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	list := page[any]{Data: []any{}}
	for _, a := range slices.Backward(d.Attempts) {
		list.Data = append(list.Data, attemptIn(shape, a))
	}
	return c.json(http.StatusOK, list)
}

func (c *call) apiRetry() error  { return c.apiRequeue(c.d.Retry) }
func (c *call) apiCancel() error { return c.apiRequeue(c.d.Cancel) }

func (c *call) apiAttempts() error {
	p := c.params()
	q, limit, shape := p.attempts(), p.limit(), choice(p, "shape", attemptShapes)
	q.After, q.Limit = p.text("cursor"), limit+1
	if err := p.done(); err != nil {
		return err
	}
	if c.foreign(q.EndpointID) {
		return c.json(http.StatusOK, page[any]{Data: []any{}})
	}
	attempts, err := c.d.ListAttempts(c.r.Context(), q)
	if err != nil {
		return err
	}
	list := cut(attempts, limit, func(a webhook.DeliveryAttempt) string { return a.ID })
	return c.json(http.StatusOK, mapped(list, func(a webhook.DeliveryAttempt) any { return attemptIn(shape, a) }))
}

func (c *call) apiEvents() error {
	p := c.params()
	q, limit := p.events(), p.limit()
	q.After, q.Limit = p.text("cursor"), limit+1
	if err := p.done(); err != nil {
		return err
	}
	events, err := c.d.ListEvents(c.r.Context(), q)
	if err != nil {
		return err
	}
	list := cut(events, limit, func(e webhook.Event) string { return e.ID })
	return c.json(http.StatusOK, mapped(list, c.shown))
}

func (c *call) apiEvent() error {
	if err := c.params().done(); err != nil {
		return err
	}
	e, err := c.event(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, e)
}

func (c *call) apiStats() error {
	p := c.params()
	q := p.stats()
	if err := p.done(); err != nil {
		return err
	}
	stats, err := c.stats(q)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, stats)
}
