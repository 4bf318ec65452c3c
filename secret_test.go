package webhook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

func TestNewSecrets(t *testing.T) {
	a, b := webhook.NewSecret(), webhook.NewSecret()
	require.NotEqual(t, a.Value, b.Value)
	require.NotEqual(t, webhook.NewSigningKey().Value, webhook.NewSigningKey().Value)
	require.NoError(t, webhook.ValidateSecrets([]webhook.Secret{a, b, webhook.NewSigningKey()}))
	_, err := a.PublicKey()
	require.ErrorIs(t, err, webhook.ErrInvalid)
	_, err = webhook.Secret{Value: "whsk_AAAA"}.PublicKey()
	require.ErrorIs(t, err, webhook.ErrInvalid)
}

func TestValidateSecrets(t *testing.T) {
	good, later := webhook.NewSecret(), time.Now().Add(time.Hour)
	nine := make([]webhook.Secret, 9)
	for i := range nine {
		nine[i] = webhook.NewSecret()
	}
	tests := map[string]struct {
		secrets []webhook.Secret
		field   string // of the error; "": none
		foreign string // the same for a signer of the user's own
	}{
		"none":        {nil, "", ""},
		"one":         {[]webhook.Secret{good}, "", ""},
		"rotating":    {[]webhook.Secret{good, {Value: vectorHMAC, ExpiresAt: later}}, "", ""},
		"eight":       {nine[:8], "", ""},
		"nine":        {nine, "Endpoint.Secrets", "Endpoint.Secrets"},
		"empty":       {[]webhook.Secret{good, {}}, "Endpoint.Secrets[1].Value", "Endpoint.Secrets[1].Value"},
		"foreign":     {[]webhook.Secret{{Value: "their old secret"}}, "Endpoint.Secrets[0].Value", ""},
		"public":      {[]webhook.Secret{{Value: vectorPublic}}, "Endpoint.Secrets[0].Value", ""},
		"masked":      {[]webhook.Secret{{Value: "whsec_****"}}, "Endpoint.Secrets[0].Value", "Endpoint.Secrets[0].Value"},
		"endless":     {[]webhook.Secret{{Value: strings.Repeat("x", 4097)}}, "Endpoint.Secrets[0].Value", "Endpoint.Secrets[0].Value"},
		"twice":       {[]webhook.Secret{good, good}, "Endpoint.Secrets[1].Value", "Endpoint.Secrets[1].Value"},
		"all to end":  {[]webhook.Secret{{Value: vectorHMAC, ExpiresAt: later}}, "Endpoint.Secrets", "Endpoint.Secrets"},
		"expired too": {[]webhook.Secret{{Value: vectorHMAC, ExpiresAt: time.Unix(1, 0)}, good}, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			requireField(t, webhook.ValidateSecrets(test.secrets), test.field)
			requireField(t, webhook.ValidateForeignSecrets(test.secrets), test.foreign)
		})
	}
}

func requireField(t *testing.T, err error, field string) {
	t.Helper()
	if field == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, webhook.ErrInvalid)
	var fieldErr *webhook.FieldError
	require.ErrorAs(t, err, &fieldErr)
	require.Equal(t, field, fieldErr.Field)
}

func TestLiveSecrets(t *testing.T) {
	now := time.Now()
	at := func(value string, d time.Duration) webhook.Secret {
		return webhook.Secret{Value: value, ExpiresAt: now.Add(d)}
	}
	secrets := []webhook.Secret{
		at("over", 0), at("soon", time.Second), at("later", time.Hour), {Value: "lasting"}, at("long over", -time.Hour), {Value: "second"},
	}
	require.Equal(t, []string{"lasting", "second", "later", "soon"}, webhook.LiveSecrets(secrets, now))
	require.Empty(t, webhook.LiveSecrets(secrets[:1], now))
	require.Equal(t, "over", secrets[0].Value, "the endpoint's own list stays as it was")
}

// TestNothingShowsSecrets prints everything that holds a secret in every way that Go knows.
func TestNothingShowsSecrets(t *testing.T) {
	endpoint := webhook.Endpoint{
		ID: "we_1", URL: "https://example.com/?token=hidden1", Headers: map[string]string{"X-Key": "hidden2"},
		Secrets:    []webhook.Secret{{Value: "whsec_hidden3"}, {Value: "whsk_hidden4", ExpiresAt: time.Unix(0, 0).UTC()}, {Value: "hidden5"}},
		Auth:       &webhook.Auth{Kind: "basic", Settings: map[string]string{"password": "hidden6"}},
		ClientCert: &webhook.ClientCert{Cert: "the certificate", Key: "hidden7"},
	}
	message := webhook.Message{ID: "evt_1", Body: []byte("hidden8"), Secrets: []string{"hidden9"}, Endpoint: endpoint}
	for _, v := range []any{endpoint, &endpoint, endpoint.Secrets, endpoint.Secrets[0], &endpoint.Secrets[1],
		endpoint.Auth, *endpoint.Auth, endpoint.ClientCert, *endpoint.ClientCert, message, &message,
		struct{ E webhook.Endpoint }{endpoint}, map[string]webhook.Secret{"a": endpoint.Secrets[0]}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t"} {
			require.NotContains(t, fmt.Sprintf(verb, v), "hidden")
			require.NotContains(t, fmt.Sprintf(verb, v), fmt.Sprintf("%x", "hidden"))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("it", "v", v)
		require.NotContains(t, log.String(), "hidden")
	}
	require.Equal(t, "whsec_****", fmt.Sprint(endpoint.Secrets[0]))

	text, err := json.Marshal(endpoint)
	require.NoError(t, err)
	require.NotContains(t, strings.ReplaceAll(string(text), "token=hidden1", ""), "hidden")
	require.Contains(t, string(text), `"secrets":[{"value":"whsec_****","expiresAt":null},{"value":"whsk_****","expiresAt":"1970-01-01T00:00:00Z"},{"value":"****","expiresAt":null}]`)
	require.Contains(t, string(text), `"auth":{"kind":"basic","settings":{"password":"****"}}`)
	require.Contains(t, string(text), `"clientCert":{"cert":"the certificate","key":"****"}`)
	require.Contains(t, string(text), `"headers":{"X-Key":"****"}`)
	require.Equal(t, "hidden2", endpoint.Headers["X-Key"], "the endpoint itself is untouched")
}

func TestSecretFromJSON(t *testing.T) {
	var e webhook.Endpoint
	require.NoError(t, json.Unmarshal([]byte(`{"secrets":[{"value":"`+vectorHMAC+`","expiresAt":"2030-01-02T03:04:05Z"},{"value":"`+vectorPrivate+`"}],
		"auth":{"kind":"basic","settings":{"password":"p"}},"clientCert":{"cert":"c","key":"k"},"headers":{"a":"b"}}`), &e))
	require.Equal(t, []webhook.Secret{
		{Value: vectorHMAC, ExpiresAt: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}, {Value: vectorPrivate},
	}, e.Secrets)
	require.Equal(t, "p", e.Auth.Settings["password"])
	require.Equal(t, "k", e.ClientCert.Key)
	require.Equal(t, "b", e.Headers["a"])

	text, err := json.Marshal(e)
	require.NoError(t, err)
	var back webhook.Endpoint
	require.NoError(t, json.Unmarshal(text, &back))
	require.ErrorIs(t, webhook.ValidateSecrets(back.Secrets), webhook.ErrInvalid, "a mask is not a secret")
	require.Error(t, json.Unmarshal([]byte(`{"value":5}`), &webhook.Secret{}))
}
