package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook/internal/batch"
	"github.com/outhook/webhook/internal/id"
)

// Config configures a Dispatcher. The zero value is right in production.
type Config struct {
	// HTTPClient makes the requests. Default: NewClient(ClientConfig{}). A client of your own bypasses
	// the address guard and everything else that ClientConfig offers; see NewGuard.
	HTTPClient HTTPClient
	// Retry says when a failed delivery is tried again. Default: DefaultRetry.
	Retry RetryPolicy
	// Workers is how many attempts are under way at once. Default: 256; at most 65,536.
	Workers int
	// PerEndpoint is how many of those may go to one endpoint while others want slots. Default: 8.
	PerEndpoint int
	// AttemptTimeout bounds a whole attempt, the reading of the response included. Default: 15 s;
	// at most 5 min.
	AttemptTimeout time.Duration
	// DrainTimeout is how long Run lets attempts finish when its context ends. Default: AttemptTimeout.
	DrainTimeout time.Duration
	// PollInterval is how often the store is asked for work that nobody announced. Default: 1 s.
	PollInterval time.Duration
	// MaxPayload is the largest payload in bytes. Default: 256 KiB.
	MaxPayload int
	// PreviewBytes is how much of a response body is kept. Default: 2,048; negative: nothing.
	PreviewBytes int
	// DetailRetention is how long headers and previews of attempts are kept. Default: 7 days; -1: for ever.
	DetailRetention time.Duration
	// Retention is how long finished deliveries are kept. Default: 90 days; -1: for ever.
	Retention time.Duration
	// DisableAfter is how long an endpoint may do nothing but fail before it is disabled. Default:
	// 5 days; -1: never.
	DisableAfter time.Duration
	// DisableExhausted is how many deliveries must have been exhausted in that time as well. Default: 10.
	DisableExhausted int
	// OnDisabled says what becomes of a disabled endpoint's deliveries. Default: HoldDeliveries.
	OnDisabled DisabledPolicy
	// Signer signs requests. Default: Standard Webhooks.
	Signer Signer
	// Sealer encrypts secrets, headers and auth settings at rest. Default: stored as they are.
	Sealer Sealer
	// Authenticators are what Endpoint.Auth may name.
	Authenticators map[string]Authenticator
	// Observer is told what happens. Default: nobody.
	Observer Observer
	// Operational asks for events about endpoints and deliveries themselves. Default: none are sent.
	Operational *Operational
	// Catalog is asked about every event before it is stored, see package catalog. Default: every event
	// is taken.
	Catalog Catalog
	// Logger gets what an operator should know; never payloads, secrets or query strings. Default:
	// slog.Default().
	Logger *slog.Logger
	// UserAgent is sent with every request. Default: "outhook-webhook/1 (+https://github.com/outhook/webhook)".
	UserAgent string
}

// DisabledPolicy says what becomes of the deliveries of a disabled endpoint.
type DisabledPolicy int

const (
	HoldDeliveries   DisabledPolicy = iota // they wait until it is enabled
	CancelDeliveries                       // they end, with code ENDPOINT_DISABLED
)

// HTTPClient makes one HTTP request. *http.Client is one. It must not follow redirects (see
// http.ErrUseLastResponse), or a redirected POST becomes a GET that seems to succeed.
type HTTPClient interface {
	Do(*http.Request) (*http.Response, error)
}

// RetryPolicy says how long to wait after the failed-th charged failure of a round (from 1), or that
// it was the last. It must be safe for concurrent use. A policy that also has a method
//
//	Decide(attempt DeliveryAttempt, failed int) (wait time.Duration, again bool)
//
// is asked that instead, and one with MaxAttempts() int tells views how many attempts a round takes.
type RetryPolicy interface {
	Next(failed int) (wait time.Duration, again bool)
}

// Catalog knows what events there may be. Check returns what is wrong with one, which Send then returns
// as an ErrInvalid. It is not asked about pings and operational events. It must be safe for concurrent
// use, and must not keep or change the event's payload.
type Catalog interface {
	Check(ev Event) error
}

// Signer puts what proves a request's origin on its headers. It must be safe for concurrent use.
type Signer interface {
	Sign(h http.Header, m Message) error
}

// Message is what a Signer signs.
type Message struct {
	ID        string    // the event's; the same on every attempt
	Timestamp time.Time // of this attempt
	Body      []byte
	Secrets   []string // the endpoint's live ones, the oldest last
	Endpoint  Endpoint
}

// Sealer encrypts what must not lie open in the store. It must be safe for concurrent use. Open must
// open whatever Seal ever sealed and is still stored.
type Sealer interface {
	// Seal encrypts.
	Seal(plain []byte) ([]byte, error)
	// Open gives back what was sealed, or an error if it was changed or is of another key.
	Open(sealed []byte) ([]byte, error)
}

// Authenticator adds an endpoint's credentials to a request, such as a bearer token. An error makes
// the attempt fail with OAUTH2_HANDSHAKE_FAILED. It must be safe for concurrent use. One that also has
// a method
//
//	Validate(Endpoint) error
//
// is asked before an endpoint that names it is stored; its error is the caller's. See BasicAuth and
// package oauth2webhook.
type Authenticator interface {
	Authorize(ctx context.Context, r *http.Request, e Endpoint) error
}

// Dispatcher sends events to endpoints and keeps the record of it. Make one with New. All methods are
// safe for concurrent use.
type Dispatcher struct {
	cfg       Config
	store     Store
	log       *slog.Logger
	ids       id.Generator
	directory directory
	sender    sender
	commits   *batch.Batcher[*commit]
	faults    storeFaults
	erasures  erasures
	probes    probes
	failing   sync.Map // endpoint IDs that the Observer was told are failing

	operational operational

	starting sync.Mutex          // held by Run and RunOnce
	current  atomic.Pointer[run] // nil while none is running
	clock    *clock
	owner    string // in whose name this process leases
}

// New returns a Dispatcher over a store. It starts nothing and does no I/O. An error is an ErrInvalid
// and names the setting.
func New(store Store, cfg Config) (*Dispatcher, error) {
	if store == nil {
		return nil, invalid("store", "is nil")
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	d := &Dispatcher{cfg: cfg, store: store, log: cfg.Logger, clock: newClock()}
	d.owner = d.ownerName()
	d.operational.wake = make(chan struct{}, 1)
	d.directory = directory{d: d, generation: -1, byID: map[string]*known{}, tenants: map[string]*subscriptions{}}
	d.sender = sender{
		client: cfg.HTTPClient, signer: cfg.Signer, authenticators: cfg.Authenticators,
		userAgent: cfg.UserAgent, previewBytes: cfg.PreviewBytes, timeout: cfg.AttemptTimeout,
		now: d.now, wall: func() time.Time { return d.clock.wall() }, log: cfg.Logger,
	}
	d.commits = batch.New(batch.Limits{
		Linger: resultLinger, Max: maxCommit, Enough: min(max(1, cfg.Workers/4), maxCommit), Flights: d.flights(),
	}, (*commit).weight, d.flushAll)
	return d, nil
}

// complete checks the settings and puts the defaults in.
func (c *Config) complete() error {
	if c.HTTPClient == nil {
		client, err := NewClient(ClientConfig{})
		if err != nil {
			return err
		}
		c.HTTPClient = client
	}
	c.Retry = orInterface(c.Retry, DefaultRetry)
	c.Signer = orInterface[Signer](c.Signer, &standardSigner{})
	c.Workers = orDefault(c.Workers, 256)
	c.PerEndpoint = orDefault(c.PerEndpoint, 8)
	c.AttemptTimeout = orDefault(c.AttemptTimeout, 15*time.Second)
	c.DrainTimeout = orDefault(c.DrainTimeout, c.AttemptTimeout)
	c.PollInterval = orDefault(c.PollInterval, time.Second)
	c.MaxPayload = orDefault(c.MaxPayload, 256<<10)
	c.PreviewBytes = orDefault(c.PreviewBytes, 2048)
	c.DetailRetention = orDefault(c.DetailRetention, 7*24*time.Hour)
	c.Retention = orDefault(c.Retention, 90*24*time.Hour)
	c.DisableAfter = orDefault(c.DisableAfter, 5*24*time.Hour)
	c.DisableExhausted = orDefault(c.DisableExhausted, 10)
	c.UserAgent = orDefault(c.UserAgent, "outhook-webhook/1 (+https://github.com/outhook/webhook)")
	c.Logger = orDefault(c.Logger, slog.Default())
	return c.check()
}

func (c *Config) check() error {
	between := func(field string, v, least, most time.Duration) error {
		if v < least || v > most {
			return invalid("Config."+field, "is %v, not between %v and %v", v, least, most)
		}
		return nil
	}
	count := func(field string, v, most int) error {
		if v < 1 || v > most {
			return invalid("Config."+field, "is %d, not between 1 and %d", v, most)
		}
		return nil
	}
	if !validHeaderValue(c.UserAgent) {
		return invalid("Config.UserAgent", "is not a header value")
	}
	for field, v := range map[string]time.Duration{
		"DetailRetention": c.DetailRetention, "Retention": c.Retention, "DisableAfter": c.DisableAfter,
	} {
		if v < 0 && v != -1 {
			return invalid("Config."+field, "is negative; -1 means never")
		}
	}
	if c.OnDisabled != HoldDeliveries && c.OnDisabled != CancelDeliveries {
		return invalid("Config.OnDisabled", "is neither HoldDeliveries nor CancelDeliveries")
	}
	return firstError(
		count("Workers", c.Workers, maxConcurrency),
		count("PerEndpoint", c.PerEndpoint, maxConcurrency),
		count("MaxPayload", c.MaxPayload, 64<<20),
		count("DisableExhausted", c.DisableExhausted, 1<<30),
		between("AttemptTimeout", c.AttemptTimeout, time.Millisecond, maxTimeout),
		between("DrainTimeout", c.DrainTimeout, 0, time.Hour),
		between("PollInterval", c.PollInterval, time.Millisecond, time.Hour),
	)
}

// orInterface is orDefault for interfaces, whose dynamic types need not be comparable.
func orInterface[T any](v, def T) T {
	if any(v) == nil {
		return def
	}
	return v
}

func (d *Dispatcher) now() time.Time { return d.clock.now() }

func (d *Dispatcher) newID(prefix string) string { return d.ids.New(prefix, d.now()) }

// ownerName is the store's if it can tell which owners are dead, else this dispatcher's own.
func (d *Dispatcher) ownerName() string {
	if s, ok := d.store.(OwnerStore); ok {
		return s.Owner()
	}
	return d.newID("")
}

// flights is how many commits the store likes to have under way at once.
func (d *Dispatcher) flights() int {
	if s, ok := d.store.(ParallelStore); ok {
		return s.Commits()
	}
	return 1
}

// guard is the default client's; a client of the user's own judges addresses itself.
func (d *Dispatcher) guard() *Guard {
	if c, ok := d.cfg.HTTPClient.(*Client); ok {
		return c.guard
	}
	return nil
}

// Wake makes Run look for due deliveries now, instead of at the next poll. Call it after committing a
// transaction that SendTx was part of.
func (d *Dispatcher) Wake() {
	if r := d.current.Load(); r != nil {
		r.poke()
	}
}
