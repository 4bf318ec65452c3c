package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Secret signs what is sent to an endpoint, until it expires. It hides its value from fmt, log/slog
// and encoding/json; read Value to show it to its owner.
type Secret struct {
	// Value is "whsec_" and 24 to 64 random bytes in base64 (HMAC-SHA256, signs v1), or "whsk_" and an
	// ed25519 private key in base64 (signs v1a). A Config.Signer of your own may use any other text.
	Value     string
	ExpiresAt time.Time // zero: never
}

// NewSecret makes a whsec_ secret of 32 random bytes that does not expire.
func NewSecret() Secret {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return Secret{Value: hmacPrefix + base64.StdEncoding.EncodeToString(random)}
}

// NewSigningKey makes a whsk_ secret, the private half of an ed25519 key pair, that does not expire.
// Give the customer its PublicKey: who can verify with that cannot sign.
func NewSigningKey() Secret {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	private := ed25519.NewKeyFromSeed(seed)
	return Secret{Value: privatePrefix + base64.StdEncoding.EncodeToString(private)}
}

// PublicKey returns the whpk_ key that verifies what a whsk_ secret signs. A whsec_ secret has none.
func (s Secret) PublicKey() (string, error) {
	if !strings.HasPrefix(s.Value, privatePrefix) {
		return "", invalid("Secret.Value", "has no public key: only a whsk_ secret has one")
	}
	private, err := decodePrivate(s.Value)
	if err != nil {
		return "", invalid("Secret.Value", "%v", err)
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey)), nil
}

// maxSecrets bounds the signature header: eight ed25519 signatures make 743 bytes.
const maxSecrets = 8

// validateSecrets checks the secrets of an endpoint that the Standard Webhooks signer will use. An
// empty list is right: one will be made.
func validateSecrets(secrets []Secret) error {
	return checkSecrets(secrets, func(value string) error {
		if strings.HasPrefix(value, publicPrefix) {
			return fmt.Errorf("is a public key, which only verifies: give the whsk_ secret")
		}
		_, err := parseSigningKey(value)
		return err
	})
}

// validateForeignSecrets checks secrets for a Config.Signer of the user's own, whose format is its
// own affair.
func validateForeignSecrets(secrets []Secret) error {
	return checkSecrets(secrets, func(value string) error {
		if value == "" || len(value) > 4096 {
			return fmt.Errorf("has %d bytes: give 1 to 4,096", len(value))
		}
		return nil
	})
}

func checkSecrets(secrets []Secret, check func(value string) error) error {
	if len(secrets) > maxSecrets {
		return invalid("Endpoint.Secrets", "are %d: at most %d can sign", len(secrets), maxSecrets)
	}
	lasting := len(secrets) == 0
	for i, s := range secrets {
		field := fmt.Sprintf("Endpoint.Secrets[%d].Value", i)
		if strings.HasSuffix(s.Value, maskedValue) {
			return invalid(field, "is masked: give the whole secret, or leave it as it was")
		}
		if err := check(s.Value); err != nil {
			return invalid(field, "%v", err)
		}
		same := func(other Secret) bool { return other.Value == s.Value }
		if slices.ContainsFunc(secrets[:i], same) {
			return invalid(field, "is given twice")
		}
		lasting = lasting || s.ExpiresAt.IsZero()
	}
	if !lasting {
		return invalid("Endpoint.Secrets", "all expire: one must not, or nothing would be signed after that")
	}
	return nil
}

// liveSecrets returns the values that sign at now, the newest first: those that never expire in
// their order, then by falling expiry.
func liveSecrets(secrets []Secret, now time.Time) []string {
	if len(secrets) == 1 && secrets[0].ExpiresAt.IsZero() { // nearly always
		return []string{secrets[0].Value}
	}
	live := make([]Secret, 0, maxSecrets)
	for _, s := range secrets {
		if s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt) {
			live = append(live, s)
		}
	}
	slices.SortStableFunc(live, func(a, b Secret) int {
		if a.ExpiresAt.IsZero() || b.ExpiresAt.IsZero() {
			return a.ExpiresAt.Compare(b.ExpiresAt) // the zero time is before every other
		}
		return b.ExpiresAt.Compare(a.ExpiresAt)
	})
	values := make([]string, len(live))
	for i, s := range live {
		values[i] = s.Value
	}
	return values
}

const (
	hmacPrefix    = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
)

func decodeHMAC(secret string) ([]byte, error) {
	raw, err := decodeSecret(secret, hmacPrefix)
	if err != nil {
		return nil, err
	}
	if len(raw) < 24 || len(raw) > 64 {
		return nil, fmt.Errorf("holds %d bytes: a whsec_ secret has 24 to 64", len(raw))
	}
	return raw, nil
}

// decodePrivate takes a bare seed as well as seed and public key, which is how other libraries write
// it. A public half that is not the seed's own would make signatures that give the seed away.
func decodePrivate(secret string) (ed25519.PrivateKey, error) {
	raw, err := decodeSecret(secret, privatePrefix)
	if err != nil {
		return nil, err
	}
	if len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("holds %d bytes: a whsk_ secret has 64, or 32 as a bare seed", len(raw))
	}
	private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if len(raw) == ed25519.PrivateKeySize && !bytes.Equal(raw, private) {
		return nil, fmt.Errorf("is not an ed25519 private key: its public half belongs to another")
	}
	return private, nil
}

func decodePublic(secret string) (ed25519.PublicKey, error) {
	raw, err := decodeSecret(secret, publicPrefix)
	if err != nil {
		return nil, err
	}
	if len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("holds %d bytes: a whpk_ key has 32", len(raw))
	}
	return raw, nil
}

// decodeSecret never says what it was given: it might be a secret with a slip in it.
func decodeSecret(secret, prefix string) ([]byte, error) {
	text := strings.TrimPrefix(secret, prefix)
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("is not base64 after %q: give it without spaces, with its padding", prefix)
	}
	return raw, nil
}
