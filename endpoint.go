package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/outhook/webhook/internal/id"
)

// EndpointState says whether an endpoint gets its deliveries.
type EndpointState string

const (
	// EndpointEnabled is where every endpoint begins, unless it is made paused.
	EndpointEnabled EndpointState = "enabled"
	// EndpointPaused means: stopped by a person. Deliveries are held.
	EndpointPaused EndpointState = "paused"
	// EndpointDisabled means: stopped by a person, by a 410, or after long failure. Deliveries are held, or canceled
	// if Config.OnDisabled says so.
	EndpointDisabled EndpointState = "disabled"
	// EndpointDeleted occurs in stores' rows only.
	EndpointDeleted EndpointState = "deleted"
)

// Endpoint is a customer's URL and how to talk to it. In JSON credentials are masked, and durations are
// milliseconds.
type Endpoint struct {
	ID          string `json:"id"` // we_…
	TenantID    string `json:"tenantId"`
	URL         string `json:"url"` // http or https, no user information, no fragment, ≤ 2,048 bytes
	Description string `json:"description"`
	// EventTypes are exact types ("order.created"), prefixes ("order.*") or "*"; empty: all.
	EventTypes []string `json:"eventTypes"`
	// Match are attributes that an event must have, with these values.
	Match  map[string]string `json:"match"`
	Method string            `json:"method"` // GET POST PUT PATCH DELETE; POST
	// Headers are sent with every request. Reserved and hop-by-hop names are refused.
	Headers map[string]string `json:"headers"`
	// Secrets sign; one is made if none is given. During a rotation there are several.
	Secrets     []Secret        `json:"secrets"`
	Auth        *Auth           `json:"auth"`
	ClientCert  *ClientCert     `json:"clientCert"`
	RateLimit   float64         `json:"rateLimit"`   // attempts a second, at least one an hour; 0: none
	MaxInFlight int             `json:"maxInFlight"` // attempts at once; 0: Config.PerEndpoint
	Timeout     time.Duration   `json:"timeoutMs"`   // of an attempt; 0: Config.AttemptTimeout; ≤ 5 min
	Retry       []time.Duration `json:"retryMs"`     // own waits between attempts, ±20 %; empty: Config.Retry
	// AllowPrivate are exceptions from the address guard. Never from a tenant's JSON.
	AllowPrivate   []netip.Prefix    `json:"-"`
	Ordered        bool              `json:"ordered"` // one at a time, in the order of Send
	State          EndpointState     `json:"state"`
	DisabledReason string            `json:"disabledReason"`
	Metadata       map[string]string `json:"metadata"`
	CreatedAt      time.Time         `json:"createdAt"`
	UpdatedAt      time.Time         `json:"updatedAt"`
}

// Auth names an Authenticator of Config.Authenticators and holds its settings for an endpoint. The
// settings are sealed at rest and masked in JSON.
type Auth struct {
	Kind     string            `json:"kind"`
	Settings map[string]string `json:"settings"`
}

// ClientCert is a certificate that an endpoint asks of its clients (mutual TLS), in PEM. The key is
// sealed at rest and masked in JSON.
type ClientCert struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// EndpointQuery selects endpoints, newest first.
type EndpointQuery struct {
	TenantID   string
	AllTenants bool
	States     []EndpointState
	After      string
	Limit      int // 50; at most 500
}

// Loopback are the addresses of this machine, for Endpoint.AllowPrivate in tests and for local
// receivers.
var Loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

var errUnchanged = errors.New("webhook: nothing to change")

// CreateEndpoint stores a new endpoint and returns it with its ID, its state and, if none was given, a
// new secret. State may be EndpointPaused; all else means enabled. ID and times are assigned.
func (d *Dispatcher) CreateEndpoint(ctx context.Context, e Endpoint) (Endpoint, error) {
	if e.State == "" {
		e.State = EndpointEnabled
	}
	if e.State != EndpointEnabled && e.State != EndpointPaused {
		return Endpoint{}, invalid("Endpoint.State", "is neither enabled nor paused")
	}
	if len(e.Secrets) == 0 {
		e.Secrets = []Secret{NewSecret()}
	}
	if err := d.validateEndpoint(&e); err != nil {
		return Endpoint{}, err
	}
	now := d.now()
	e.ID, e.DisabledReason = d.newID(id.Endpoint), ""
	e.CreatedAt, e.UpdatedAt = now, now
	row := EndpointRow{ID: e.ID, TenantID: e.TenantID, State: e.State, CreatedAt: now, UpdatedAt: now}
	if err := d.encodeEndpoint(e, &row); err != nil {
		return Endpoint{}, err
	}
	row, err := d.store.CreateEndpoint(ctx, row)
	if err != nil {
		return Endpoint{}, err
	}
	d.endpointChanged(ctx)
	return d.decodeEndpoint(row)
}

// GetEndpoint returns an endpoint with its secrets, or ErrNotFound.
func (d *Dispatcher) GetEndpoint(ctx context.Context, endpointID string) (Endpoint, error) {
	row, err := d.store.GetEndpoint(ctx, endpointID)
	if err != nil {
		return Endpoint{}, err
	}
	if row.Deleted() {
		return Endpoint{}, fmt.Errorf("%w: endpoint %s is deleted", ErrNotFound, endpointID)
	}
	return d.decodeEndpoint(row)
}

// EndpointHealth returns what the last attempts to an endpoint say of it, or ErrNotFound.
func (d *Dispatcher) EndpointHealth(ctx context.Context, endpointID string) (EndpointHealth, error) {
	row, err := d.store.GetEndpoint(ctx, endpointID)
	if err != nil {
		return EndpointHealth{}, err
	}
	if row.Deleted() {
		return EndpointHealth{}, fmt.Errorf("%w: endpoint %s is deleted", ErrNotFound, endpointID)
	}
	return row.Health, nil
}

// ListEndpoints lists endpoints, newest first.
func (d *Dispatcher) ListEndpoints(ctx context.Context, q EndpointQuery) ([]Endpoint, error) {
	if err := validatePage(id.Endpoint, q.After, &q.Limit); err != nil {
		return nil, err
	}
	rows, err := d.store.ListEndpoints(ctx, q)
	if err != nil {
		return nil, err
	}
	list := make([]Endpoint, len(rows))
	for i, row := range rows {
		if list[i], err = d.decodeEndpoint(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// UpdateEndpoint changes an endpoint by a closure and returns the new one. The closure may run again;
// it must not call the dispatcher. What it returns as an error is returned, and nothing is changed. It
// cannot change ID, TenantID, State, DisabledReason and times. Attempts that begin after
// UpdateEndpoint returned use the new settings.
func (d *Dispatcher) UpdateEndpoint(ctx context.Context, endpointID string, change func(*Endpoint) error) (Endpoint, error) {
	return d.updateEndpoint(ctx, endpointID, func(row *EndpointRow) error {
		e, err := d.decodeEndpoint(*row)
		if err != nil {
			return err
		}
		fixed := e
		if err := change(&e); err != nil {
			return err
		}
		e.ID, e.TenantID, e.State, e.DisabledReason = fixed.ID, fixed.TenantID, fixed.State, fixed.DisabledReason
		if len(e.Secrets) == 0 {
			return invalid("Endpoint.Secrets", "is empty; use RotateSecret to replace a secret")
		}
		if err := d.validateEndpoint(&e); err != nil {
			return err
		}
		return d.encodeEndpoint(e, row)
	})
}

// updateEndpoint changes the row and lets this process know.
func (d *Dispatcher) updateEndpoint(ctx context.Context, endpointID string, change func(*EndpointRow) error) (Endpoint, error) {
	now := d.now()
	row, err := d.store.UpdateEndpoint(ctx, endpointID, func(row *EndpointRow) error {
		if err := change(row); err != nil {
			return err
		}
		row.UpdatedAt = now
		return nil
	})
	if err != nil {
		return Endpoint{}, err
	}
	d.endpointChanged(ctx)
	return d.decodeEndpoint(row)
}

// endpointChanged takes over a change at once. If that fails, the next event or claim will notice.
func (d *Dispatcher) endpointChanged(ctx context.Context) {
	_ = d.directory.refresh(ctx, d.store)
	d.Wake()
}

// DeleteEndpoint removes an endpoint. Its pending deliveries are canceled with code MISSING_URL, soon
// and in small steps; its history stays until retention takes it.
func (d *Dispatcher) DeleteEndpoint(ctx context.Context, endpointID string) error {
	_, err := d.updateEndpoint(ctx, endpointID, func(row *EndpointRow) error {
		row.State, row.CancelPending = EndpointDeleted, CodeMissingURL
		return nil
	})
	if err != nil {
		return err
	}
	d.stopEndpoint(endpointID)
	d.pruneSoon()
	return nil
}

// PauseEndpoint holds the deliveries of an endpoint. When it returns, this process begins no further
// attempt to it; attempts under way finish, and other processes follow within Config.PollInterval. A
// paused endpoint stays as it is; a disabled one is ErrEndpointDisabled.
func (d *Dispatcher) PauseEndpoint(ctx context.Context, endpointID string) error {
	_, err := d.updateEndpoint(ctx, endpointID, func(row *EndpointRow) error {
		if row.State == EndpointDisabled {
			return fmt.Errorf("%w: %s holds its deliveries already", ErrEndpointDisabled, endpointID)
		}
		row.State = EndpointPaused
		return nil
	})
	if err == nil {
		d.stopEndpoint(endpointID)
	}
	return err
}

// UnpauseEndpoint releases what was held: at first one attempt at a time, then, with each success,
// more. An enabled endpoint stays as it is; a disabled one is ErrEndpointDisabled.
func (d *Dispatcher) UnpauseEndpoint(ctx context.Context, endpointID string) error {
	now := d.now()
	_, err := d.updateEndpoint(ctx, endpointID, func(row *EndpointRow) error {
		if row.State == EndpointDisabled {
			return fmt.Errorf("%w: call EnableEndpoint for %s", ErrEndpointDisabled, endpointID)
		}
		if row.State == EndpointPaused {
			row.State, row.ReleasedAt = EndpointEnabled, now
		}
		return nil
	})
	return err
}

// EnableEndpoint ends a disablement or a pause, as UnpauseEndpoint does, and forgets past failures.
func (d *Dispatcher) EnableEndpoint(ctx context.Context, endpointID string) error {
	now := d.now()
	_, err := d.updateEndpoint(ctx, endpointID, func(row *EndpointRow) error {
		if row.State == EndpointEnabled {
			return nil
		}
		row.State, row.DisabledReason, row.CancelPending = EndpointEnabled, "", ""
		row.ReleasedAt = now
		row.Health.FailingSince, row.Health.Failures, row.Health.Exhausted = time.Time{}, 0, 0
		return nil
	})
	return err
}

// DisableEndpoint stops deliveries to an endpoint until EnableEndpoint. Config.OnDisabled says what
// becomes of those that are pending and those to come. The reason, at most 255 bytes, is shown; default
// "disabled by a user".
func (d *Dispatcher) DisableEndpoint(ctx context.Context, endpointID string, reason ...string) error {
	text := "disabled by a user"
	if len(reason) > 0 && reason[0] != "" {
		text = reason[0]
	}
	if err := validateName("reason", text); err != nil {
		return err
	}
	return d.disable(ctx, endpointID, func(EndpointRow) (string, bool) { return text, true })
}

// disable disables the endpoint if, in the store's present row, there is a reason to.
func (d *Dispatcher) disable(ctx context.Context, endpointID string, reason func(EndpointRow) (string, bool)) error {
	e, err := d.updateEndpoint(ctx, endpointID, func(row *EndpointRow) error {
		text, yes := reason(*row)
		if !yes || row.State == EndpointDisabled {
			return errUnchanged
		}
		row.State, row.DisabledReason = EndpointDisabled, text
		if d.cfg.OnDisabled == CancelDeliveries {
			row.CancelPending = CodeEndpointDisabled
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil {
		return err
	}
	d.stopEndpoint(endpointID)
	d.pruneSoon()
	d.observe(Notice{Kind: NoticeEndpointDisabled, Endpoint: &e})
	if err := d.flushOperational(ctx); err != nil {
		d.log.Warn("webhook: operational events wait for the store", "error", err) // Run tries again
	}
	return nil
}

// RotateSecret makes a new secret of the same kind as the endpoint's newest and returns it. For the
// grace time the old ones sign too: 0 is 24 hours; negative ends them now.
func (d *Dispatcher) RotateSecret(ctx context.Context, endpointID string, grace time.Duration) (Secret, error) {
	if grace == 0 {
		grace = 24 * time.Hour
	}
	if grace > maxDelay {
		return Secret{}, invalid("grace", "is more than a year")
	}
	now := d.now()
	var fresh Secret
	_, err := d.UpdateEndpoint(ctx, endpointID, func(e *Endpoint) error {
		fresh = newSecretLike(e.Secrets)
		e.Secrets = append([]Secret{fresh}, retire(e.Secrets, now, grace)...)
		return nil
	})
	return fresh, err
}

func newSecretLike(secrets []Secret) Secret {
	if len(secrets) > 0 && secrets[0].String() == privatePrefix+maskedValue {
		return NewSigningKey()
	}
	return NewSecret()
}

// retire lets secrets end after grace, if they do not end before, and drops those that ended.
func retire(secrets []Secret, now time.Time, grace time.Duration) []Secret {
	end := now.Add(grace)
	var kept []Secret
	for _, s := range secrets {
		if s.ExpiresAt.IsZero() || s.ExpiresAt.After(end) {
			s.ExpiresAt = end
		}
		if s.ExpiresAt.After(now) {
			kept = append(kept, s)
		}
	}
	return kept[:min(len(kept), maxSecrets-1)]
}

// endpointJSON is the wire form of an Endpoint where it differs from its fields.
type endpointJSON struct {
	*endpointFields
	TimeoutMS int64   `json:"timeoutMs"`
	RetryMS   []int64 `json:"retryMs"`
}

type endpointFields Endpoint

// MarshalJSON masks secrets, settings, the client key and the values of headers.
func (e Endpoint) MarshalJSON() ([]byte, error) {
	e.Headers = maskValues(e.Headers)
	fields := endpointFields(e)
	j := endpointJSON{endpointFields: &fields, TimeoutMS: e.Timeout.Milliseconds(), RetryMS: []int64{}}
	for _, wait := range e.Retry {
		j.RetryMS = append(j.RetryMS, wait.Milliseconds())
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what a customer may set and leaves everything else as it is: ID, TenantID, State,
// DisabledReason, times and AllowPrivate. Keys that are missing leave their fields, so a change can be
// decoded over the present endpoint; credentials that come back masked stay as they were.
func (e *Endpoint) UnmarshalJSON(data []byte) error {
	fields := endpointFields(*e)
	// Fresh maps, or the decoder would write into the caller's.
	fields.Headers, fields.Match, fields.Metadata, fields.Auth, fields.ClientCert = nil, nil, nil, nil, nil
	fields.Secrets, fields.EventTypes = nil, nil
	var present map[string]json.RawMessage
	if err := json.Unmarshal(data, &present); err != nil {
		return err
	}
	j := endpointJSON{endpointFields: &fields}
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	old := *e
	next := Endpoint(fields)
	next.ID, next.TenantID, next.State, next.DisabledReason = old.ID, old.TenantID, old.State, old.DisabledReason
	next.CreatedAt, next.UpdatedAt, next.AllowPrivate = old.CreatedAt, old.UpdatedAt, old.AllowPrivate
	keep := func(key string, restore func()) {
		if _, ok := present[key]; !ok {
			restore()
		}
	}
	next.Timeout, next.Retry = time.Duration(j.TimeoutMS)*time.Millisecond, nil
	for _, ms := range j.RetryMS {
		next.Retry = append(next.Retry, time.Duration(ms)*time.Millisecond)
	}
	keep("timeoutMs", func() { next.Timeout = old.Timeout })
	keep("retryMs", func() { next.Retry = old.Retry })
	keep("eventTypes", func() { next.EventTypes = old.EventTypes })
	keep("match", func() { next.Match = old.Match })
	keep("metadata", func() { next.Metadata = old.Metadata })
	keep("headers", func() { next.Headers = old.Headers })
	keep("secrets", func() { next.Secrets = old.Secrets })
	keep("auth", func() { next.Auth = old.Auth })
	keep("clientCert", func() { next.ClientCert = old.ClientCert })
	next.unmask(old)
	*e = next
	return nil
}

// unmask puts back what MarshalJSON masked.
func (e *Endpoint) unmask(old Endpoint) {
	unmaskValues(e.Headers, old.Headers)
	if e.Auth != nil && old.Auth != nil && e.Auth.Kind == old.Auth.Kind {
		unmaskValues(e.Auth.Settings, old.Auth.Settings)
	}
	if e.ClientCert != nil && old.ClientCert != nil && e.ClientCert.Key == maskedValue && e.ClientCert.Cert == old.ClientCert.Cert {
		e.ClientCert.Key = old.ClientCert.Key
	}
	masked := func(s Secret) bool { return s.Value == s.String() }
	if len(e.Secrets) == len(old.Secrets) && len(e.Secrets) > 0 && !slices.ContainsFunc(e.Secrets, func(s Secret) bool { return !masked(s) }) {
		e.Secrets = old.Secrets
	}
}

func unmaskValues(values, old map[string]string) {
	for key, value := range values {
		if had, ok := old[key]; ok && value == maskedValue {
			values[key] = had
		}
	}
}
