package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"time"
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
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
}

// Authenticator adds an endpoint's credentials to a request, such as a bearer token. An error makes
// the attempt fail with OAUTH2_HANDSHAKE_FAILED. It must be safe for concurrent use.
type Authenticator interface {
	Authorize(ctx context.Context, r *http.Request, e Endpoint) error
}
