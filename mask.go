package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// What holds secrets shows them to nobody who does not ask for the very field: not to fmt, with
// whatever verb, not to slog, not to encoding/json. Stores get them in an encoding of their own.

const maskedValue = "****"

// String returns the kind of the secret: "whsec_****".
func (s Secret) String() string {
	for _, prefix := range []string{hmacPrefix, privatePrefix} {
		if strings.HasPrefix(s.Value, prefix) {
			return prefix + maskedValue
		}
	}
	return maskedValue
}

// Format writes String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// secretJSON is the wire form of a Secret.
type secretJSON struct {
	Value     string     `json:"value"`
	ExpiresAt *time.Time `json:"expiresAt"`
}

// MarshalJSON writes the value masked: {"value":"whsec_****","expiresAt":null}.
func (s Secret) MarshalJSON() ([]byte, error) {
	return json.Marshal(secretJSON{Value: s.String(), ExpiresAt: timeOrNull(s.ExpiresAt)})
}

// UnmarshalJSON reads a whole value. What MarshalJSON wrote is read too, but refused wherever a
// secret is used.
func (s *Secret) UnmarshalJSON(data []byte) error {
	var j secretJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*s = Secret{Value: j.Value, ExpiresAt: orZero(j.ExpiresAt)}
	return nil
}

// String returns the kind, without the settings.
func (a Auth) String() string { return "Auth(" + a.Kind + ")" }

// Format writes String for every verb.
func (a Auth) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// LogValue is String.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalJSON writes the names of the settings with masked values.
func (a Auth) MarshalJSON() ([]byte, error) {
	type open Auth
	a.Settings = maskValues(a.Settings)
	return json.Marshal(open(a))
}

// String says nothing of what the certificate holds.
func (c ClientCert) String() string { return "ClientCert(" + maskedValue + ")" }

// Format writes String for every verb.
func (c ClientCert) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String.
func (c ClientCert) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON writes the certificate as it is and the key masked.
func (c ClientCert) MarshalJSON() ([]byte, error) {
	type open ClientCert
	c.Key = maskedValue
	return json.Marshal(open(c))
}

// String returns the ID; URLs and headers may hold secrets.
func (e Endpoint) String() string { return "Endpoint(" + e.ID + ")" }

// Format writes String for every verb.
func (e Endpoint) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// LogValue is String.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }

// String returns the ID.
func (m Message) String() string { return "Message(" + m.ID + ")" }

// Format writes String for every verb.
func (m Message) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// LogValue is String.
func (m Message) LogValue() slog.Value { return slog.StringValue(m.String()) }

func maskValues(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	masked := make(map[string]string, len(m))
	for key := range m {
		masked[key] = maskedValue
	}
	return masked
}
