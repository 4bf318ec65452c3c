package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// directory is what this process knows of the endpoints: a copy of the store's, brought up to date by
// generation. Matching an event costs its matches, not the number of endpoints.
type directory struct {
	d *Dispatcher

	syncing sync.Mutex  // one refresh at a time
	paced   atomic.Bool // some endpoint has, or had, a rate limit

	mu         sync.RWMutex
	generation int64
	byID       map[string]*known
	tenants    map[string]*subscriptions
	timeout    time.Duration // the longest of any endpoint
}

// known is an endpoint as of its generation. It is not changed after.
type known struct {
	row      EndpointRow
	endpoint Endpoint
	target   *target
}

// subscriptions are the endpoints of one tenant by what they subscribe to.
type subscriptions struct {
	exact  map[string]set // "order.created"
	prefix map[string]set // "order" for "order.*"
	all    set
}

type set map[string]*known

const syncPage = 1000

// refresh reads what changed since the last one, from the store or a transaction in it. A failure leaves
// the directory as it was.
func (r *directory) refresh(ctx context.Context, store EndpointStore) error {
	r.syncing.Lock()
	defer r.syncing.Unlock()
	after := r.current()
	first := after < 0
	for {
		rows, generation, err := store.SyncEndpoints(ctx, after, syncPage)
		if err != nil {
			return err
		}
		if generation < after {
			// The store was set back: a backup was restored, or a transaction rolled back.
			r.forget()
			after = -1
			continue
		}
		if len(rows) == syncPage {
			generation = rows[len(rows)-1].Generation
		}
		r.apply(rows, generation)
		if first {
			r.d.rememberFailing(rows)
		}
		if len(rows) < syncPage {
			return nil
		}
		after = generation
	}
}

func (r *directory) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation = -1
	clear(r.byID)
	clear(r.tenants)
}

// catchUp refreshes if the store is at another generation than this.
func (r *directory) catchUp(ctx context.Context, generation int64) error {
	if generation == r.current() {
		return nil
	}
	return r.refresh(ctx, r.d.store)
}

func (r *directory) current() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.generation
}

func (r *directory) apply(rows []EndpointRow, generation int64) {
	fresh := make([]*known, 0, len(rows))
	for _, row := range rows {
		k := &known{row: row}
		if row.Deleted() { // an erased one has nothing to be decoded
			fresh = append(fresh, k)
			continue
		}
		e, err := r.d.decodeEndpoint(row)
		if err != nil {
			// Its attempts will fail, uncharged, and say so; other endpoints are not affected.
			r.d.log.Error("webhook: endpoint cannot be read", "endpoint", row.ID, "error", err)
		}
		k.endpoint = e
		k.target = newTarget(e)
		if err != nil {
			k.target.fault = &fault{CodeInternalError, "the endpoint's stored settings cannot be read; the log says why"}
		}
		fresh = append(fresh, k)
	}
	r.mu.Lock()
	released := map[string]bool{}
	for _, k := range fresh {
		old := r.byID[k.row.ID]
		released[k.row.ID] = old != nil && !old.row.ReleasedAt.Equal(k.row.ReleasedAt)
		r.replace(k)
	}
	r.generation = max(r.generation, generation)
	r.mu.Unlock()
	for _, k := range fresh {
		if k.row.State != EndpointEnabled {
			r.d.probes.forget(k.row.ID)
		}
		r.d.endpointNews(k, released[k.row.ID])
	}
}

// endpointNews lets a running queue follow an endpoint's change, whichever process made it.
func (d *Dispatcher) endpointNews(k *known, released bool) {
	r := d.current.Load()
	if r == nil {
		return
	}
	if k.row.State != EndpointEnabled {
		d.stopEndpoint(k.row.ID)
		return
	}
	r.queue.changed(k, released)
}

func (r *directory) replace(k *known) {
	id := k.row.ID
	if old := r.byID[id]; old != nil {
		r.tenants[old.row.TenantID].each(old, func(s set) { delete(s, id) })
		delete(r.byID, id)
	}
	if k.row.Deleted() {
		return
	}
	r.byID[id] = k
	if k.endpoint.RateLimit > 0 {
		r.paced.Store(true)
	}
	subs := r.tenants[k.row.TenantID]
	if subs == nil {
		subs = &subscriptions{exact: map[string]set{}, prefix: map[string]set{}, all: set{}}
		r.tenants[k.row.TenantID] = subs
	}
	subs.each(k, func(s set) { s[id] = k })
	r.timeout = max(r.timeout, k.endpoint.Timeout)
}

// each visits the sets that an endpoint belongs to, making them where they are missing.
func (s *subscriptions) each(k *known, visit func(set)) {
	if len(k.endpoint.EventTypes) == 0 {
		visit(s.all)
	}
	for _, t := range k.endpoint.EventTypes {
		if t == "*" {
			visit(s.all)
		} else if prefix, ok := strings.CutSuffix(t, ".*"); ok {
			visitIn(s.prefix, prefix, visit)
		} else {
			visitIn(s.exact, t, visit)
		}
	}
}

func visitIn(sets map[string]set, key string, visit func(set)) {
	s := sets[key]
	if s == nil {
		s = set{}
		sets[key] = s
	}
	visit(s)
	if len(s) == 0 {
		delete(sets, key)
	}
}

// match returns the endpoints that an event goes to, in the order of their IDs, and the generation
// that this holds for.
func (r *directory) match(e *Event) ([]*known, int64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(e.EndpointIDs) > 0 {
		found, err := r.named(e)
		return found, r.generation, err
	}
	subs := r.tenants[e.TenantID]
	if subs == nil {
		return nil, r.generation, nil
	}
	var found []*known
	collect := func(s set) {
		for _, k := range s {
			if matchesAttributes(k.endpoint.Match, e.Attributes) {
				found = append(found, k)
			}
		}
	}
	if !isOperational(e.Type) {
		collect(subs.all)
	}
	collect(subs.exact[e.Type])
	for i := range len(e.Type) {
		if e.Type[i] == '.' {
			collect(subs.prefix[e.Type[:i]])
		}
	}
	slices.SortFunc(found, func(a, b *known) int { return strings.Compare(a.row.ID, b.row.ID) })
	return slices.CompactFunc(found, func(a, b *known) bool { return a == b }), r.generation, nil
}

// named returns the endpoints that the event is restricted to, each once.
func (r *directory) named(e *Event) ([]*known, error) {
	found := make([]*known, 0, len(e.EndpointIDs))
	for _, id := range e.EndpointIDs {
		k := r.byID[id]
		if k == nil || k.row.TenantID != e.TenantID {
			return nil, invalid("Event.EndpointIDs", "has %q, which is not an endpoint of the event's tenant", id)
		}
		if !slices.Contains(found, k) {
			found = append(found, k)
		}
	}
	return found, nil
}

func matchesAttributes(want, have map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// matchesType reports whether a subscription to these types includes the type. Operational events must
// be asked for by name.
func matchesType(types []string, eventType string) bool {
	toAll := !isOperational(eventType)
	return len(types) == 0 && toAll || slices.ContainsFunc(types, func(t string) bool {
		prefix, ok := strings.CutSuffix(t, "*")
		return t == eventType || ok && (prefix != "" || toAll) && strings.HasPrefix(eventType, prefix)
	})
}

// Explanation says whether an event would go to an endpoint, and if not, why.
type Explanation struct {
	EndpointID string
	Matches    bool
	State      EndpointState // a paused or disabled endpoint's delivery would be held
	Reason     string        // "" if it matches
}

// Explain goes through all endpoints of the event's tenant, in the order of their IDs, and says which
// the event would go to. It stores nothing.
func (d *Dispatcher) Explain(ctx context.Context, ev Event) ([]Explanation, error) {
	if problem := typeProblem(ev.Type); problem != "" {
		return nil, invalid("Event.Type", "%s", problem)
	}
	if err := d.directory.refresh(ctx, d.store); err != nil {
		return nil, err
	}
	return d.directory.explain(&ev), nil
}

func (r *directory) explain(ev *Event) []Explanation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Explanation
	for _, k := range r.byID {
		if k.row.TenantID != ev.TenantID {
			continue
		}
		reason := mismatch(k, ev)
		all = append(all, Explanation{EndpointID: k.row.ID, Matches: reason == "", State: k.row.State, Reason: reason})
	}
	slices.SortFunc(all, func(a, b Explanation) int { return strings.Compare(a.EndpointID, b.EndpointID) })
	return all
}

func mismatch(k *known, ev *Event) string {
	if len(ev.EndpointIDs) > 0 {
		if slices.Contains(ev.EndpointIDs, k.row.ID) {
			return ""
		}
		return "the event's EndpointIDs do not name it"
	}
	if !matchesType(k.endpoint.EventTypes, ev.Type) {
		return fmt.Sprintf("its EventTypes do not include %q", ev.Type)
	}
	for _, key := range slices.Sorted(maps.Keys(k.endpoint.Match)) {
		want := k.endpoint.Match[key]
		if got, ok := ev.Attributes[key]; !ok {
			return fmt.Sprintf("it asks for the attribute %q, which the event does not have", key)
		} else if got != want {
			return fmt.Sprintf("it asks for the attribute %q to be %q", key, want)
		}
	}
	return ""
}

func (r *directory) get(id string) *known {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byID[id]
}

// find is get, asking the store if the endpoint is not known yet.
func (r *directory) find(ctx context.Context, id string) (*known, error) {
	if k := r.get(id); k != nil {
		return k, nil
	}
	if err := r.refresh(ctx, r.d.store); err != nil {
		return nil, err
	}
	return r.get(id), nil
}

// longestTimeout is that of any attempt that may be made.
func (r *directory) longestTimeout() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return max(r.timeout, r.d.cfg.AttemptTimeout)
}

// endpointConfig is how an endpoint's settings are stored. Fields may be added; their names and
// meaning stay.
type endpointConfig struct {
	Description  string            `json:"description,omitempty"`
	EventTypes   []string          `json:"eventTypes,omitempty"`
	Match        map[string]string `json:"match,omitempty"`
	Method       string            `json:"method,omitempty"`
	RateLimit    float64           `json:"rateLimit,omitempty"`
	MaxInFlight  int               `json:"maxInFlight,omitempty"`
	Timeout      time.Duration     `json:"timeout,omitempty"` // nanoseconds
	Retry        []time.Duration   `json:"retry,omitempty"`   // nanoseconds
	AllowPrivate []netip.Prefix    `json:"allowPrivate,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	// Credentials are in JSON, sealed if there is a Sealer.
	Credentials string `json:"credentials"`
}

type credentials struct {
	Secrets []storedSecret    `json:"secrets,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Auth    *storedAuth       `json:"auth,omitempty"`
	Cert    string            `json:"cert,omitempty"`
	Key     string            `json:"key,omitempty"`
}

type storedSecret struct {
	Value     string    `json:"value"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

type storedAuth Auth

// encodeEndpoint writes e into row, all but ID, tenant, state and times.
func (d *Dispatcher) encodeEndpoint(e Endpoint, row *EndpointRow) error {
	open := credentials{Headers: e.Headers, Auth: (*storedAuth)(e.Auth)}
	for _, s := range e.Secrets {
		open.Secrets = append(open.Secrets, storedSecret(s))
	}
	if e.ClientCert != nil {
		open.Cert, open.Key = e.ClientCert.Cert, e.ClientCert.Key
	}
	c := endpointConfig{
		Description: e.Description, EventTypes: e.EventTypes, Match: e.Match, Method: e.Method,
		RateLimit: e.RateLimit, MaxInFlight: e.MaxInFlight, Timeout: e.Timeout, Retry: e.Retry,
		AllowPrivate: e.AllowPrivate, Metadata: e.Metadata,
	}
	plain, err := json.Marshal(open)
	if err != nil {
		return fmt.Errorf("webhook: encode endpoint: %w", err)
	}
	if c.Credentials, err = sealString(d.cfg.Sealer, string(plain)); err != nil {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("webhook: encode endpoint: %w", err)
	}
	row.URL, row.Ordered, row.Config = e.URL, e.Ordered, data
	return nil
}

// decodeEndpoint is the inverse of encodeEndpoint. On an error it returns what the row itself says.
func (d *Dispatcher) decodeEndpoint(row EndpointRow) (Endpoint, error) {
	e := Endpoint{
		ID: row.ID, TenantID: row.TenantID, URL: row.URL, Ordered: row.Ordered, State: row.State,
		DisabledReason: row.DisabledReason, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
	var c endpointConfig
	if err := json.Unmarshal(row.Config, &c); err != nil {
		return e, fmt.Errorf("webhook: endpoint %s is damaged: %w", row.ID, err)
	}
	e.Description, e.EventTypes, e.Match, e.Method = c.Description, c.EventTypes, c.Match, c.Method
	e.RateLimit, e.MaxInFlight, e.Timeout, e.Retry = c.RateLimit, c.MaxInFlight, c.Timeout, c.Retry
	e.AllowPrivate, e.Metadata = c.AllowPrivate, c.Metadata
	plain, err := openString(d.cfg.Sealer, c.Credentials)
	if err != nil {
		return e, fmt.Errorf("webhook: endpoint %s: %w", row.ID, err)
	}
	var open credentials
	if err := json.Unmarshal([]byte(plain), &open); err != nil {
		return e, fmt.Errorf("webhook: credentials of endpoint %s are damaged: %w", row.ID, err)
	}
	for _, s := range open.Secrets {
		e.Secrets = append(e.Secrets, Secret(s))
	}
	e.Headers, e.Auth = open.Headers, (*Auth)(open.Auth)
	if open.Cert != "" {
		e.ClientCert = &ClientCert{Cert: open.Cert, Key: open.Key}
	}
	return e, nil
}
