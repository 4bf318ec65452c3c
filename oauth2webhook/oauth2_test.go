package oauth2webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/oauth2webhook"
)

// tokenServer gives the tokens t1, t2, … to who knows the secret.
type tokenServer struct {
	*httptest.Server
	asked atomic.Int64
	mu    sync.Mutex
	last  url.Values // guarded by mu; the form, with the user of basic authentication as client_id
}

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.asked.Add(1)
		_ = r.ParseForm()
		if id, secret, ok := r.BasicAuth(); ok {
			r.PostForm.Set("header_client_id", id)
			r.PostForm.Set("client_secret", secret)
		}
		s.mu.Lock()
		s.last = r.PostForm
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if r.PostForm.Get("client_secret") != "hidden" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"hidden"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer","expires_in":3600}`, n)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) form() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *tokenServer) endpoint(id string, more map[string]string) webhook.Endpoint {
	settings := map[string]string{"clientId": "me", "clientSecret": "hidden", "tokenUrl": s.URL + "/token"}
	maps.Copy(settings, more)
	return webhook.Endpoint{ID: id, Auth: &webhook.Auth{Kind: "oauth2", Settings: settings}}
}

func authorize(t *testing.T, a *oauth2webhook.Authenticator, e webhook.Endpoint) (string, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "https://example.com/", nil)
	require.NoError(t, err)
	err = a.Authorize(t.Context(), r, e)
	return r.Header.Get("Authorization"), err
}

func requireToken(t *testing.T, want string, a *oauth2webhook.Authenticator, e webhook.Endpoint) {
	t.Helper()
	got, err := authorize(t, a, e)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestAuthorizeKeepsTheToken(t *testing.T) {
	s := newTokenServer(t)
	a := oauth2webhook.New(&http.Client{})
	var _ webhook.Authenticator = a

	requireToken(t, "Bearer t1", a, s.endpoint("we_1", nil))
	requireToken(t, "Bearer t1", a, s.endpoint("we_1", nil))
	require.Equal(t, url.Values{"grant_type": {"client_credentials"}, "header_client_id": {"me"}, "client_secret": {"hidden"}}, s.form())

	requireToken(t, "Bearer t2", a, s.endpoint("we_2", nil)) // each endpoint has its own
	requireToken(t, "Bearer t1", a, s.endpoint("we_1", nil))

	changed := s.endpoint("we_1", map[string]string{"scopes": "read  write", "audience": "api", "authStyle": "params"})
	requireToken(t, "Bearer t3", a, changed)
	require.Equal(t, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"me"}, "client_secret": {"hidden"}, "scope": {"read write"}, "audience": {"api"},
	}, s.form())

	a.Forget("we_2")
	requireToken(t, "Bearer t4", a, s.endpoint("we_2", nil))
}

func TestAuthorizeFetchesOnceForAll(t *testing.T) {
	s := newTokenServer(t)
	a := oauth2webhook.New(&http.Client{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := authorize(t, a, s.endpoint("we_1", nil)); err != nil || got != "Bearer t1" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, s.asked.Load())
}

func TestAuthorizeTellsWhatFailed(t *testing.T) {
	s := newTokenServer(t)
	a := oauth2webhook.New(&http.Client{})
	_, err := authorize(t, a, s.endpoint("we_1", map[string]string{"clientSecret": "wrong-hidden"}))
	require.ErrorContains(t, err, `status 401, "invalid_client"`)
	require.NotContains(t, err.Error(), "hidden")

	_, err = authorize(t, a, s.endpoint("we_1", map[string]string{"tokenUrl": "http://127.0.0.1:1/token?key=hidden"}))
	require.ErrorContains(t, err, "cannot ask 127.0.0.1:1 for a token")
	require.NotContains(t, err.Error(), "hidden")
	requireToken(t, "Bearer t2", a, s.endpoint("we_1", nil)) // a failure is not kept
}

func TestAuthorizeAgainstOddServers(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"not JSON":         {200, "<html>hidden", "no token from"},
		"no token":         {200, `{"token_type":"bearer"}`, "missing access_token"},
		"line break in it": {200, `{"access_token":"a\r\nX-Evil: 1"}`, "characters"},
		"odd type":         {200, `{"access_token":"a","token_type":"x\u0000"}`, "characters"},
		"error with 200":   {200, `{"error":"slow_down"}`, "slow_down"},
		"a long error":     {400, `{"error":"` + strings.Repeat("x", 1e5) + `"}`, "status 400"},
		"plain 500":        {500, "hidden", "status 500"},
		"redirect":         {302, "", "status 302"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/token" {
					t.Error("followed the redirect")
				}
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer s.Close()
			e := webhook.Endpoint{Auth: &webhook.Auth{Settings: map[string]string{"clientId": "me", "clientSecret": "hidden", "tokenUrl": s.URL + "/token"}}}
			header, err := authorize(t, oauth2webhook.New(&http.Client{}), e)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "hidden")
			require.Less(t, len(err.Error()), 300)
			require.Empty(t, header)
		})
	}
}

func TestValidate(t *testing.T) {
	s := newTokenServer(t)
	a := oauth2webhook.New(&http.Client{})
	require.NoError(t, a.Validate(s.endpoint("we_1", nil)))
	require.NoError(t, a.Validate(s.endpoint("we_1", map[string]string{"tokenUrl": "https://login.example.com/token?v=2"})))
	for _, change := range []map[string]string{
		{"clientId": ""}, {"clientSecret": ""}, {"tokenUrl": ""}, {"tokenUrl": "http://example.com/token"},
		{"tokenUrl": "ftp://example.com"}, {"tokenUrl": "https://u:p@example.com"}, {"tokenUrl": "https:///token"},
		{"tokenUrl": "https://example.com/#f"}, {"tokenUrl": "://"}, {"authStyle": "both"}, {"scope": "slip"},
	} {
		e := s.endpoint("we_1", change)
		require.ErrorIs(t, a.Validate(e), webhook.ErrInvalid, change)
		_, err := authorize(t, a, e)
		require.ErrorIs(t, err, webhook.ErrInvalid, change)
	}
	require.ErrorIs(t, a.Validate(webhook.Endpoint{}), webhook.ErrInvalid)
	require.Zero(t, s.asked.Load())
}

// fake is a client without sockets.
type fake func(*http.Request) (*http.Response, error)

func (f fake) Do(r *http.Request) (*http.Response, error) { return f(r) }

func granting(life int, asked *int) fake {
	return func(r *http.Request) (*http.Response, error) {
		*asked++
		answer := map[string]any{"access_token": fmt.Sprint("t", *asked)}
		if life > 0 {
			answer["expires_in"] = life
		}
		text, err := json.Marshal(answer)
		return &http.Response{
			StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(string(text))),
		}, err
	}
}

func TestAuthorizeRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokenServer{Server: &httptest.Server{URL: "https://login.example.com"}}
		asked := 0
		a := oauth2webhook.New(granting(600, &asked))
		e := s.endpoint("we_1", nil)
		requireToken(t, "Bearer t1", a, e)
		time.Sleep(9 * time.Minute)
		requireToken(t, "Bearer t1", a, e)
		time.Sleep(time.Minute - 5*time.Second) // it would expire on the way
		requireToken(t, "Bearer t2", a, e)

		asked = 0
		a = oauth2webhook.New(granting(0, &asked))
		requireToken(t, "Bearer t1", a, e)
		time.Sleep(59 * time.Minute)
		requireToken(t, "Bearer t1", a, e)
		time.Sleep(time.Minute)
		requireToken(t, "Bearer t2", a, e)
	})
}

func TestAuthorizeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokenServer{Server: &httptest.Server{URL: "https://login.example.com"}}
		a := oauth2webhook.New(fake(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		started := time.Now()
		wait := func(ctx context.Context, want time.Duration) {
			r, _ := http.NewRequest(http.MethodPost, "https://example.com/", nil)
			err := a.Authorize(ctx, r, s.endpoint("we_1", nil))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(started); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { wait(ctx, 10*time.Second) })
		wg.Go(func() { wait(ctx, 10*time.Second) }) // one fetches, one waits for it
		wg.Wait()
		wait(t.Context(), 40*time.Second) // without a deadline, ours
	})
}

func TestManyEndpointsTakeBoundedRoom(t *testing.T) {
	s := &tokenServer{Server: &httptest.Server{URL: "https://login.example.com"}}
	asked := 0
	a := oauth2webhook.New(granting(600, &asked))
	const n = 10_000
	for i := range n + 50 {
		requireToken(t, fmt.Sprint("Bearer t", i+1), a, s.endpoint(fmt.Sprint("we_", i), nil))
	}
	again := asked
	for i := range n + 50 {
		_, err := authorize(t, a, s.endpoint(fmt.Sprint("we_", i), nil))
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, asked-again, 50, "that many had been dropped")
}

func TestTokenRequestIsGuarded(t *testing.T) {
	s := newTokenServer(t)
	e := s.endpoint("we_1", nil)
	e.AllowPrivate = webhook.Loopback // for the endpoint, not for its token server
	_, err := authorize(t, oauth2webhook.New(nil), e)
	require.ErrorIs(t, err, webhook.ErrBlockedAddress)

	guarded := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Control: webhook.NewGuard().Control}).DialContext}}
	_, err = authorize(t, oauth2webhook.New(guarded), e)
	require.ErrorIs(t, err, webhook.ErrBlockedAddress)
	require.Zero(t, s.asked.Load())

	allowed, err := webhook.NewClient(webhook.ClientConfig{AllowPrivate: webhook.Loopback})
	require.NoError(t, err)
	defer allowed.CloseIdleConnections()
	requireToken(t, "Bearer t1", oauth2webhook.New(allowed), e)
}

func ExampleNew() {
	cfg := webhook.Config{Authenticators: map[string]webhook.Authenticator{"oauth2": oauth2webhook.New(nil)}}
	fmt.Println(len(cfg.Authenticators))
	// Output: 1
}
