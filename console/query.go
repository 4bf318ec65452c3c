package console

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// params reads the parameters of a list, the same in pages and API, and remembers what it read and the
// first that makes no sense.
type params struct {
	*call
	values url.Values
	read   map[string]bool
	err    error
	form   bool // filled in by a person: an empty tenant is not the tenant ""
}

func (c *call) params() *params {
	return &params{call: c, values: c.r.URL.Query(), read: map[string]bool{}}
}

func (c *call) formParams() *params {
	p := c.params()
	p.form = true
	return p
}

func (p *params) text(name string) string {
	p.read[name] = true
	return strings.TrimSpace(p.values.Get(name))
}

func (p *params) refuse(name, format string, args ...any) {
	if p.err == nil {
		p.err = badField(name, format, args...)
	}
}

// tenant is whose records are asked for. An operator who names none sees all; everybody else has one,
// and any other does not exist.
func (p *params) tenant() (tenantID string, all bool) {
	name := p.text("tenant")
	if !p.values.Has("tenant") || p.form && name == "" {
		return p.TenantID, p.AllTenants
	}
	if !p.sees(name) && p.err == nil {
		p.err = errNotFound
	}
	return name, false
}

var age = regexp.MustCompile(`^(\d{1,4})([mhd])$`)

// time reads an instant, or how long ago it was.
func (p *params) time(name string) time.Time {
	value := p.text(name)
	if value == "" {
		return time.Time{}
	}
	if m := age.FindStringSubmatch(value); m != nil {
		n, _ := strconv.Atoi(m[1]) // four digits
		unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
		return time.Now().UTC().Add(-time.Duration(n) * unit)
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC()
		}
	}
	p.refuse(name, "%s is neither a time like 2026-01-31T15:04:05Z nor an age like 90m, 24h or 7d.", name)
	return time.Time{}
}

const (
	defaultLimit = 50
	maxLimit     = 200
)

func (p *params) limit() int {
	value := p.text("limit")
	if value == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxLimit {
		p.refuse("limit", "limit is not a number between 1 and %d.", maxLimit)
		return defaultLimit
	}
	return n
}

var (
	statuses       = []webhook.DeliveryStatus{webhook.StatusPending, webhook.StatusSuccess, webhook.StatusFailed}
	deliveryStates = []webhook.DeliveryState{webhook.StateQueued, webhook.StateScheduled, webhook.StateSending,
		webhook.StateHeld, webhook.StateSucceeded, webhook.StateExhausted, webhook.StateGone, webhook.StateCanceled, webhook.StateExpired}
	attemptStatuses = []webhook.AttemptStatus{webhook.AttemptSucceeded, webhook.AttemptFailed, webhook.AttemptInterrupted, webhook.AttemptCanceled}
	endpointStates  = []webhook.EndpointState{webhook.EndpointEnabled, webhook.EndpointPaused, webhook.EndpointDisabled}
)

// choice reads one of the values that a parameter may have.
func choice[T ~string](p *params, name string, known []T) T {
	value := T(p.text(name))
	if value != "" && !slices.Contains(known, value) {
		p.refuse(name, "%s is none of %s.", name, strings.Join(texts(known), ", "))
	}
	return value
}

// choices reads a parameter that may stand several times.
func choices[T ~string](p *params, name string, known []T) (list []T) {
	p.read[name] = true
	for _, value := range p.values[name] {
		if value == "" {
			continue
		}
		if !slices.Contains(known, T(value)) {
			p.refuse(name, "%s is none of %s.", name, strings.Join(texts(known), ", "))
		}
		list = append(list, T(value))
	}
	return list
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// responseClass reads 5xx, or 5.
func (p *params) responseClass() int {
	value := strings.TrimSuffix(strings.ToLower(p.text("responseClass")), "xx")
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 9 {
		p.refuse("responseClass", "responseClass is none of 1xx to 9xx.")
	}
	return n
}

const attributeParam = "attribute."

func (p *params) attributes() map[string]string {
	var attributes map[string]string
	for name, values := range p.values {
		key, found := strings.CutPrefix(name, attributeParam)
		if !found || len(values) == 0 {
			continue
		}
		p.read[name] = true
		if attributes == nil {
			attributes = map[string]string{}
		}
		attributes[key] = values[0]
	}
	return attributes
}

// deliveries reads the filters of deliveries, without the place in the list.
func (p *params) deliveries() webhook.DeliveryQuery {
	q := webhook.DeliveryQuery{
		EndpointID:    p.text("endpointId"),
		EventID:       p.text("eventId"),
		EventType:     p.text("eventType"),
		Status:        choice(p, "status", statuses),
		States:        choices(p, "state", deliveryStates),
		ErrorCode:     choice(p, "errorCode", webhook.ErrorCodes()),
		ResponseClass: p.responseClass(),
		Since:         p.time("since"),
		Until:         p.time("until"),
		FinishedSince: p.time("finishedSince"),
		Attributes:    p.attributes(),
	}
	q.TenantID, q.AllTenants = p.tenant()
	return q
}

func (p *params) attempts() webhook.AttemptQuery {
	q := webhook.AttemptQuery{
		EndpointID: p.text("endpointId"),
		EventID:    p.text("eventId"),
		DeliveryID: p.text("deliveryId"),
		Status:     choice(p, "status", attemptStatuses),
		ErrorCode:  choice(p, "errorCode", webhook.ErrorCodes()),
		Since:      p.time("since"),
		Until:      p.time("until"),
	}
	q.TenantID, q.AllTenants = p.tenant()
	return q
}

func (p *params) events() webhook.EventQuery {
	q := webhook.EventQuery{Type: p.text("eventType"), Since: p.time("since"), Until: p.time("until")}
	q.TenantID, q.AllTenants = p.tenant()
	return q
}

func (p *params) endpoints() webhook.EndpointQuery {
	q := webhook.EndpointQuery{States: choices(p, "state", endpointStates)}
	q.TenantID, q.AllTenants = p.tenant()
	return q
}

func (p *params) stats() webhook.StatsQuery {
	q := webhook.StatsQuery{EndpointID: p.text("endpointId"), Since: p.time("since"), Until: p.time("until")}
	q.TenantID, q.AllTenants = p.tenant()
	return q
}

// done returns the first fault. A parameter that nobody read is one: a filter with a typing mistake
// would otherwise select everything.
func (p *params) done() error {
	if p.err != nil {
		return p.err
	}
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !p.read[name] {
			return badField(name, "There is no parameter %q here.", name)
		}
	}
	return nil
}

// page is a part of a list and where it goes on.
type page[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"nextCursor"`
}

// cut makes a page of limit of a list that was asked for one record more.
func cut[T any](list []T, limit int, id func(T) string) page[T] {
	p := page[T]{Data: list}
	if len(list) > limit {
		last := id(list[limit-1])
		p.Data, p.NextCursor = list[:limit], &last
	}
	if p.Data == nil {
		p.Data = []T{}
	}
	return p
}

// mapped is a page of the same records in another shape.
func mapped[T, S any](p page[T], shape func(T) S) page[S] {
	out := page[S]{Data: make([]S, len(p.Data)), NextCursor: p.NextCursor}
	for i, v := range p.Data {
		out.Data[i] = shape(v)
	}
	return out
}
