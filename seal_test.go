package webhook_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
)

func sealingKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
}

func sealer(t *testing.T, keys ...[]byte) webhook.Sealer {
	t.Helper()
	s, err := webhook.NewAESSealer(keys...)
	require.NoError(t, err)
	return s
}

func TestAESSealer(t *testing.T) {
	s := sealer(t, sealingKey())
	for size := range 40 {
		plain := bytes.Repeat([]byte("a"), size)
		one, err := s.Seal(plain)
		require.NoError(t, err)
		two, err := s.Seal(plain)
		require.NoError(t, err)
		require.NotEqual(t, one, two, "a nonce of its own")
		require.False(t, size > 3 && bytes.Contains(one, plain))
		opened, err := s.Open(one)
		require.NoError(t, err)
		require.Equal(t, string(plain), string(opened))
	}
}

func TestAESSealerRotation(t *testing.T) {
	first, second := sealingKey(), sealingKey()
	sealed, err := sealer(t, first).Seal([]byte("hello"))
	require.NoError(t, err)

	opened, err := sealer(t, second, first).Open(sealed)
	require.NoError(t, err)
	require.Equal(t, "hello", string(opened))

	_, err = sealer(t, second).Open(sealed)
	require.ErrorContains(t, err, "not among the 1 given")

	sealed, err = sealer(t, second, first).Seal([]byte("hello"))
	require.NoError(t, err)
	_, err = sealer(t, first).Open(sealed)
	require.Error(t, err, "the first key of the list seals")
}

func TestAESSealerNoticesChange(t *testing.T) {
	s := sealer(t, sealingKey())
	sealed, err := s.Seal([]byte("hello"))
	require.NoError(t, err)
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		_, err := s.Open(changed)
		require.Error(t, err, "byte %d", i)
		_, err = s.Open(sealed[:i])
		require.Error(t, err, "cut at %d", i)
	}
	_, err = s.Open(nil)
	require.Error(t, err)
}

func TestAESSealerRefusesKeys(t *testing.T) {
	for name, keys := range map[string][][]byte{
		"none": {}, "short": {make([]byte, 16)}, "second is long": {sealingKey(), make([]byte, 64)}, "zeros": {make([]byte, 32)},
	} {
		_, err := webhook.NewAESSealer(keys...)
		require.ErrorIs(t, err, webhook.ErrInvalid, name)
		require.ErrorContains(t, err, "32", name)
	}
}

func TestSealString(t *testing.T) {
	with := sealer(t, sealingKey())
	for _, plain := range []string{"", "whsec_abc", "sealed:", "sealed:AAAA", "open:", "open:sealed:x", "open", "\x00é"} {
		bare, err := webhook.SealString(nil, plain)
		require.NoError(t, err)
		sealed, err := webhook.SealString(with, plain)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(sealed, "sealed:"))
		require.False(t, strings.HasPrefix(bare, "sealed:"))

		// Both kinds are read after the Sealer came, and the bare one before it as well.
		for _, read := range []struct {
			by     webhook.Sealer
			stored string
		}{{nil, bare}, {with, bare}, {with, sealed}} {
			got, err := webhook.OpenString(read.by, read.stored)
			require.NoError(t, err)
			require.Equal(t, plain, got)
		}
		_, err = webhook.OpenString(nil, sealed)
		require.ErrorContains(t, err, "Config.Sealer")
	}
	bare, err := webhook.SealString(nil, "whsec_abc")
	require.NoError(t, err)
	require.Equal(t, "whsec_abc", bare, "stored as it is")
	for _, damaged := range []string{"sealed:", "sealed:%", "sealed:AAAA"} {
		_, err := webhook.OpenString(with, damaged)
		require.Error(t, err)
	}
}

// TestEndpointsAtRest looks at what lies in the store, before and after a Sealer came.
func TestEndpointsAtRest(t *testing.T) {
	store, key := memory.New(), sealingKey()
	dispatcher := func(s webhook.Sealer) *webhook.Dispatcher {
		d, err := webhook.New(store, webhook.Config{Sealer: s, Authenticators: map[string]webhook.Authenticator{"basic": webhook.BasicAuth{}}})
		require.NoError(t, err)
		return d
	}
	hidden := []string{vectorHMAC, "header-value", "auth-value"}
	lies := func(id string) (open int) {
		row, err := store.GetEndpoint(t.Context(), id)
		require.NoError(t, err)
		for _, text := range hidden {
			if bytes.Contains(row.Config, []byte(text)) {
				open++
			}
		}
		return open
	}
	e := webhook.Endpoint{
		URL: "https://example.com/", Secrets: []webhook.Secret{{Value: vectorHMAC}}, Headers: map[string]string{"X-Key": "header-value"},
		Auth: &webhook.Auth{Kind: "basic", Settings: map[string]string{"username": "a", "password": "auth-value"}},
	}
	bare, err := dispatcher(nil).CreateEndpoint(t.Context(), e)
	require.NoError(t, err)
	require.Equal(t, len(hidden), lies(bare.ID))

	d := dispatcher(sealer(t, key))
	sealed, err := d.CreateEndpoint(t.Context(), e)
	require.NoError(t, err)
	require.Zero(t, lies(sealed.ID))
	for _, id := range []string{bare.ID, sealed.ID} {
		got, err := d.GetEndpoint(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, e.Secrets, got.Secrets)
		require.Equal(t, e.Headers, got.Headers)
		require.Equal(t, e.Auth, got.Auth)
	}

	_, err = d.UpdateEndpoint(t.Context(), bare.ID, func(*webhook.Endpoint) error { return nil })
	require.NoError(t, err)
	require.Zero(t, lies(bare.ID), "the next write seals")

	_, err = dispatcher(nil).GetEndpoint(t.Context(), sealed.ID)
	require.ErrorContains(t, err, "Config.Sealer")
	_, err = dispatcher(brokenSealer{}).CreateEndpoint(t.Context(), e)
	require.ErrorIs(t, err, errBroken)
	require.NotContains(t, err.Error(), vectorHMAC)
}

var errBroken = errors.New("key service is away")

type brokenSealer struct{}

func (brokenSealer) Seal([]byte) ([]byte, error) { return nil, errBroken }
func (brokenSealer) Open([]byte) ([]byte, error) { return nil, errBroken }
