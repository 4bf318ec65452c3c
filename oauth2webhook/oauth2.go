// Package oauth2webhook authorizes requests to endpoints that ask for a bearer token by OAuth 2.0
// client credentials (RFC 6749, section 4.4).
//
// It is a [webhook.Authenticator]: give it to Config.Authenticators under a name, such as "oauth2", and
// name that in Endpoint.Auth.Kind. The endpoint's settings are
//
//	tokenUrl      https URL of the token endpoint; http for loopback only
//	clientId
//	clientSecret
//	scopes        optional, with spaces between
//	audience      optional, for servers that ask for it
//	authStyle     optional: "header" (basic authentication, the default) or "params" (in the form)
//
// # Security
//
// The token URL comes from whoever configures the endpoint, so it is a target as any webhook URL is:
// the request for a token must go through a client that guards the addresses it dials. The default does;
// exceptions of an endpoint (AllowPrivate) do not count for it. For a token server in your own network,
// give New a client by webhook.NewClient with that address allowed, or one that dials under the Control
// of a webhook.Guard.
package oauth2webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/outhook/webhook"
)

// Authenticator fetches tokens and keeps them until they expire, one for each endpoint. It is safe for
// concurrent use.
type Authenticator struct {
	client *http.Client

	mu      sync.Mutex
	sources map[string]*source // guarded by mu, by endpoint ID
}

const (
	maxSources   = 10_000
	fetchTimeout = 30 * time.Second // an attempt usually has less
	// maxAge is how long a token is used whose server does not say when it expires.
	maxAge = time.Hour
)

// New returns an Authenticator that fetches tokens by this client; nil means one that reaches public
// addresses only. Any other should guard what it dials: see Security above. Redirects are not followed
// where it is an *http.Client; other clients must not follow them by themselves.
func New(client webhook.HTTPClient) *Authenticator {
	if client == nil {
		client, _ = webhook.NewClient(webhook.ClientConfig{}) // only settings can be wrong
	}
	own := &http.Client{Transport: roundTripper{client}}
	if given, ok := client.(*http.Client); ok {
		*own = *given
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Authenticator{client: own, sources: make(map[string]*source)}
}

type roundTripper struct{ client webhook.HTTPClient }

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return t.client.Do(r) }

// Authorize sets the Authorization header, with a fresh token if there is none or it expires within
// seconds. Requests that need the same token wait for one fetch.
func (a *Authenticator) Authorize(ctx context.Context, r *http.Request, e webhook.Endpoint) error {
	if err := a.Validate(e); err != nil {
		return err
	}
	token, err := a.source(e).token(ctx, a.client)
	if err != nil {
		return err
	}
	token.SetAuthHeader(r)
	return nil
}

// Forget drops the token of an endpoint, as when it was revoked before its time.
func (a *Authenticator) Forget(endpointID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sources, endpointID)
}

// Validate checks the settings of an endpoint. The error is a [webhook.FieldError].
func (a *Authenticator) Validate(e webhook.Endpoint) error {
	if e.Auth == nil {
		return &webhook.FieldError{Field: "Endpoint.Auth", Message: "is missing"}
	}
	settings := e.Auth.Settings
	for _, name := range []string{"clientId", "clientSecret", "tokenUrl"} {
		if settings[name] == "" {
			return fault(name, "must be given")
		}
	}
	for name := range settings {
		switch name {
		case "clientId", "clientSecret", "tokenUrl", "scopes", "audience", "authStyle":
		default:
			return fault(name, "is not known: there are clientId, clientSecret, tokenUrl, scopes, audience and authStyle")
		}
	}
	if style := settings["authStyle"]; style != "" && style != "header" && style != "params" {
		return fault("authStyle", `must be "header" or "params"`)
	}
	return validateTokenURL(settings["tokenUrl"])
}

func validateTokenURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return fault("tokenUrl", "must be an https URL with a host, without user information and fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return fault("tokenUrl", "must be https: the client's secret goes there")
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func fault(setting, message string) error {
	return &webhook.FieldError{Field: "Endpoint.Auth.Settings[" + setting + "]", Message: message}
}

// source returns what fetches and keeps the endpoint's token. Other settings make a new one.
func (a *Authenticator) source(e webhook.Endpoint) *source {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sources[e.ID]; s != nil && maps.Equal(s.settings, e.Auth.Settings) {
		return s
	}
	for id := range a.sources { // any one: it costs the other endpoint a fetch
		if len(a.sources) < maxSources {
			break
		}
		delete(a.sources, id)
	}
	s := &source{settings: maps.Clone(e.Auth.Settings), turn: make(chan struct{}, 1)}
	a.sources[e.ID] = s
	return s
}

// source is the token of one endpoint.
type source struct {
	settings map[string]string
	turn     chan struct{} // holds one while someone looks or fetches; unlike a mutex, waiting for it can end
	current  *accessToken  // belongs to whoever has the turn
}

type accessToken struct {
	*oauth2.Token
	fetchedAt time.Time
}

func (t *accessToken) usable() bool {
	return t != nil && t.Valid() && (!t.Expiry.IsZero() || time.Since(t.fetchedAt) < maxAge)
}

func (s *source) token(ctx context.Context, client *http.Client) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, s.explain(context.Cause(ctx))
	}
	if s.current.usable() {
		return s.current.Token, nil
	}
	token, err := s.fetch(ctx, client)
	if err != nil {
		return nil, s.explain(err)
	}
	s.current = &accessToken{Token: token, fetchedAt: time.Now()}
	return token, nil
}

func (s *source) fetch(ctx context.Context, client *http.Client) (*oauth2.Token, error) {
	config := clientcredentials.Config{
		ClientID: s.settings["clientId"], ClientSecret: s.settings["clientSecret"], TokenURL: s.settings["tokenUrl"],
		Scopes: strings.Fields(s.settings["scopes"]), AuthStyle: oauth2.AuthStyleInHeader,
	}
	if s.settings["authStyle"] == "params" {
		config.AuthStyle = oauth2.AuthStyleInParams
	}
	if audience := s.settings["audience"]; audience != "" {
		config.EndpointParams = url.Values{"audience": {audience}}
	}
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return nil, err
	}
	if !printable(token.Type()) || !printable(token.AccessToken) {
		return nil, errors.New("the token has characters that a header cannot carry")
	}
	return token, nil
}

func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// explain names the host and what went wrong. The errors below it would also print the token server's
// whole answer, and the URL with its query.
func (s *source) explain(err error) error {
	host := "token server"
	if u, parseErr := url.Parse(s.settings["tokenUrl"]); parseErr == nil {
		host = u.Host
	}
	var answer *oauth2.RetrieveError
	var request *url.Error
	switch {
	case errors.As(err, &answer) && answer.ErrorCode != "":
		return fmt.Errorf("oauth2webhook: %s gave no token: status %d, %.100q", host, answer.Response.StatusCode, answer.ErrorCode)
	case errors.As(err, &answer):
		return fmt.Errorf("oauth2webhook: %s gave no token: status %d", host, answer.Response.StatusCode)
	case errors.As(err, &request):
		return fmt.Errorf("oauth2webhook: cannot ask %s for a token: %w", host, request.Err)
	}
	return fmt.Errorf("oauth2webhook: no token from %s: %w", host, err)
}
