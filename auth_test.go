package webhook_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
)

func TestBasicAuth(t *testing.T) {
	endpoint := func(settings map[string]string) webhook.Endpoint {
		return webhook.Endpoint{Auth: &webhook.Auth{Kind: "basic", Settings: settings}}
	}
	var authenticator webhook.Authenticator = webhook.BasicAuth{}
	r, err := http.NewRequest(http.MethodPost, "https://example.com/", nil)
	require.NoError(t, err)
	require.NoError(t, authenticator.Authorize(t.Context(), r, endpoint(map[string]string{"username": "a", "password": "b:é"})))
	username, password, ok := r.BasicAuth()
	require.True(t, ok)
	require.Equal(t, []string{"a", "b:é"}, []string{username, password})

	for name, e := range map[string]webhook.Endpoint{
		"no auth": {}, "no settings": endpoint(nil), "colon": endpoint(map[string]string{"username": "a:b"}),
		"slip": endpoint(map[string]string{"username": "a", "pasword": "hidden"}),
	} {
		r.Header = http.Header{}
		err := authenticator.Authorize(t.Context(), r, e)
		require.ErrorIs(t, err, webhook.ErrInvalid, name)
		require.NotContains(t, err.Error(), "hidden")
		require.Empty(t, r.Header)
	}
}

func TestAuthIsValidatedAtTheDoor(t *testing.T) {
	d, err := webhook.New(memory.New(), webhook.Config{Authenticators: map[string]webhook.Authenticator{"basic": webhook.BasicAuth{}}})
	require.NoError(t, err)
	for field, auth := range map[string]*webhook.Auth{
		"Endpoint.Auth.Kind":               {Kind: "oauth2"},
		"Endpoint.Auth.Settings[username]": {Kind: "basic"},
		"Endpoint.Auth.Settings[password]": {Kind: "basic", Settings: map[string]string{"username": "a", "password": "****"}},
	} {
		_, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com", Auth: auth})
		requireField(t, err, field)
	}
	settings := map[string]string{"username": "a", "password": "b"}
	e, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://example.com", Auth: &webhook.Auth{Kind: "basic", Settings: settings}})
	require.NoError(t, err)
	require.Equal(t, settings, e.Auth.Settings)
}
