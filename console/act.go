package console

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
)

// apiRequeue retries or cancels one delivery and answers with what it is then.
func (c *call) apiRequeue(act func(ctx context.Context, deliveryID string) error) error {
	if err := c.body(&struct{}{}); err != nil {
		return err
	}
	id := c.r.PathValue("id")
	if err := c.requeue(id, act); err != nil {
		return err
	}
	d, err := c.delivery(id)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, schema.NewDeliveryListItem(d.DeliveryListItem))
}

func (c *call) requeue(id string, act func(ctx context.Context, deliveryID string) error) error {
	if _, err := c.delivery(id); err != nil {
		return err
	}
	return act(c.r.Context(), id)
}

func (c *call) apiEndpoints() error {
	p := c.params()
	q, limit := p.endpoints(), p.limit()
	q.After, q.Limit = p.text("cursor"), limit+1
	if err := p.done(); err != nil {
		return err
	}
	endpoints, err := c.d.ListEndpoints(c.r.Context(), q)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, cut(endpoints, limit, endpointID))
}

func endpointID(e webhook.Endpoint) string { return e.ID }

func (c *call) apiEndpoint() error {
	if err := c.params().done(); err != nil {
		return err
	}
	return c.answerEndpoint()
}

// answerEndpoint answers with the endpoint and its health.
func (c *call) answerEndpoint() error {
	e, err := c.endpoint(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	health, err := c.d.EndpointHealth(c.r.Context(), e.ID)
	if err != nil {
		return err
	}
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return err
	}
	if fields["health"], err = json.Marshal(newHealth(health)); err != nil {
		return err
	}
	return c.json(http.StatusOK, fields)
}

// health is a webhook.EndpointHealth in JSON.
type health struct {
	FailingSince  *time.Time `json:"failingSince"` // the first failure since the last success
	Failures      int64      `json:"failures"`     // attempts since then
	Exhausted     int64      `json:"exhausted"`    // deliveries since then
	LastSuccessAt *time.Time `json:"lastSuccessAt"`
	LastFailureAt *time.Time `json:"lastFailureAt"`
}

func newHealth(h webhook.EndpointHealth) health {
	return health{
		FailingSince: timeOrNull(h.FailingSince), Failures: h.Failures, Exhausted: h.Exhausted,
		LastSuccessAt: timeOrNull(h.LastSuccessAt), LastFailureAt: timeOrNull(h.LastFailureAt),
	}
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// onEndpoint is an action on an endpoint that exists for the caller.
func onEndpoint(act func(c *call, endpointID string) error) func(*call) error {
	return func(c *call) error {
		e, err := c.endpoint(c.r.PathValue("id"))
		if err != nil {
			return err
		}
		return act(c, e.ID)
	}
}

// apiSwitch changes an endpoint's state and answers with the endpoint.
func apiSwitch(act func(d *webhook.Dispatcher, ctx context.Context, endpointID string) error) func(*call) error {
	return onEndpoint(func(c *call, id string) error {
		if err := c.body(&struct{}{}); err != nil {
			return err
		}
		if err := act(c.d, c.r.Context(), id); err != nil {
			return err
		}
		return c.answerEndpoint()
	})
}

func (c *call) apiDisable(id string) error {
	var in struct {
		Reason string `json:"reason"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if err := c.d.DisableEndpoint(c.r.Context(), id, in.Reason); err != nil {
		return err
	}
	return c.answerEndpoint()
}

func (c *call) apiPing(id string) error {
	if err := c.body(&struct{}{}); err != nil {
		return err
	}
	receipt, err := c.d.PingEndpoint(c.r.Context(), id)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, receipt)
}

// rotated is the one answer that shows a secret.
type rotated struct {
	Secret string `json:"secret"`
	// PublicKey is for the receiver, if the secret is a signing key.
	PublicKey *string `json:"publicKey"`
}

func newRotated(s webhook.Secret) rotated {
	public, err := s.PublicKey()
	if err != nil {
		return rotated{Secret: s.Value}
	}
	return rotated{Secret: s.Value, PublicKey: &public}
}

func (c *call) apiRotateSecret(id string) error {
	var in struct {
		GraceMS *int64 `json:"graceMs"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	grace := time.Duration(0) // the dispatcher's default
	if in.GraceMS != nil {
		const most = int64(365 * 24 * time.Hour / time.Millisecond)
		if *in.GraceMS < 0 || *in.GraceMS > most {
			return badField("graceMs", "graceMs is not between 0 and %d, a year.", most)
		}
		if grace = time.Duration(*in.GraceMS) * time.Millisecond; grace == 0 {
			grace = -1 // the old ones end now
		}
	}
	secret, err := c.d.RotateSecret(c.r.Context(), id, grace)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, newRotated(secret))
}

func (c *call) apiBulkRetries() error {
	p := c.params()
	q := webhook.BulkRetryQuery{States: choices(p, "state", bulkStates)}
	q.TenantID, q.AllTenants = p.tenant()
	limit := p.limit()
	q.After, q.Limit = p.text("cursor"), limit+1
	if err := p.done(); err != nil {
		return err
	}
	list, err := c.d.ListBulkRetries(c.r.Context(), q)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, cut(list, limit, func(b webhook.BulkRetry) string { return b.ID }))
}

var bulkStates = []webhook.BulkRetryState{webhook.BulkRetryRunning, webhook.BulkRetryCanceling, webhook.BulkRetryDone, webhook.BulkRetryCanceled}

func (c *call) apiCreateBulkRetry() error {
	var in struct {
		Query  *webhook.DeliveryQuery `json:"query"`
		Rate   float64                `json:"rate"`
		DryRun bool                   `json:"dryRun"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.Query == nil {
		return badField("query", "query is missing: it says which deliveries to retry.")
	}
	q := *in.Query
	if err := checkQuery(q); err != nil {
		return err
	}
	if !c.AllTenants {
		if q.AllTenants || q.TenantID != "" && q.TenantID != c.TenantID {
			return errNotFound
		}
		q.TenantID = c.TenantID
	}
	b, err := c.d.BulkRetry(c.r.Context(), q, webhook.BulkRetryOptions{Rate: in.Rate, DryRun: in.DryRun})
	if err != nil {
		return err
	}
	if in.DryRun {
		return c.json(http.StatusOK, b)
	}
	c.w.Header().Set("Location", "webhook-bulk-retries/"+b.ID)
	return c.json(http.StatusCreated, b)
}

// checkQuery refuses words that no delivery can match.
func checkQuery(q webhook.DeliveryQuery) error {
	if q.Status != "" && !slices.Contains(statuses, q.Status) {
		return badField("query.status", "%q is no status.", q.Status)
	}
	for _, state := range q.States {
		if !slices.Contains(deliveryStates, state) {
			return badField("query.states", "%q is no state.", state)
		}
	}
	if q.ErrorCode != "" && !slices.Contains(webhook.ErrorCodes(), q.ErrorCode) {
		return badField("query.errorCode", "%q is no error code.", q.ErrorCode)
	}
	return nil
}

func (c *call) apiBulkRetry() error {
	if err := c.params().done(); err != nil {
		return err
	}
	b, err := c.bulkRetry(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, b)
}

func (c *call) apiCancelBulkRetry() error {
	if err := c.body(&struct{}{}); err != nil {
		return err
	}
	b, err := c.bulkRetry(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := c.d.CancelBulkRetry(c.r.Context(), b.ID); err != nil {
		return err
	}
	if b, err = c.bulkRetry(b.ID); err != nil {
		return err
	}
	return c.json(http.StatusOK, b)
}
