package webhook

import (
	"net/netip"
	"time"
)

// EndpointState says whether an endpoint gets its deliveries.
type EndpointState string

const (
	EndpointEnabled EndpointState = "enabled"
	// EndpointPaused: by a person. Deliveries are held.
	EndpointPaused EndpointState = "paused"
	// EndpointDisabled: by a person, by a 410, or after long failure. Deliveries are held, or canceled
	// if Config.OnDisabled says so.
	EndpointDisabled EndpointState = "disabled"
	// EndpointDeleted occurs in stores' rows only.
	EndpointDeleted EndpointState = "deleted"
)

// Endpoint is a customer's URL and how to talk to it.
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
	RateLimit   float64         `json:"rateLimit"`   // attempts a second; 0: none
	MaxInFlight int             `json:"maxInFlight"` // attempts at once; 0: Config.PerEndpoint
	Timeout     time.Duration   `json:"timeout"`     // of an attempt; 0: Config.AttemptTimeout; ≤ 5 min
	Retry       []time.Duration `json:"retry"`       // own waits between attempts, ±20 %; empty: Config.Retry
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
