package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What [Verify] finds wrong with a request. A secret that cannot be right is an [ErrInvalid] instead:
// that is not the sender's fault.
var (
	// ErrSignatureHeaders: one of webhook-id, webhook-timestamp and webhook-signature is missing, given
	// twice or not in its form.
	ErrSignatureHeaders = errors.New("webhook: signature headers are missing or malformed")
	// ErrSignatureTime: the timestamp is too old or too far ahead; a replay, or a clock is wrong.
	ErrSignatureTime = errors.New("webhook: timestamp is outside the tolerance")
	// ErrSignatureMismatch: no signature is by any of the secrets over these very bytes.
	ErrSignatureMismatch = errors.New("webhook: no signature matches")
)

// Verify reports whether a request was signed with one of the secrets (whsec_ or whpk_) within five
// minutes of now. The body must be the bytes as received, not decoded and encoded again. The errors
// are [ErrSignatureHeaders], [ErrSignatureTime], [ErrSignatureMismatch], and [ErrInvalid] if there is no
// secret or one does not decode.
//
// A request that verifies may still be one that was seen before: deliveries are made at least once.
// Remember the webhook-id of what you have done.
func Verify(body []byte, h http.Header, secrets ...string) error {
	return Verifier{Secrets: secrets}.Verify(body, h)
}

// Verifier verifies requests that were signed by Standard Webhooks 1.0.0, from this library or any
// other. It is safe for concurrent use.
type Verifier struct {
	// Secrets are all that may have signed, in any order: whsec_… or whpk_… At least one.
	Secrets []string
	// Tolerance is how far webhook-timestamp may be from now, either way. Default: 5 min.
	Tolerance time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// MaxBody is the largest body in bytes that Middleware reads. Default: 1 MiB.
	MaxBody int64
}

// Verify does what the function [Verify] does, by the settings of v.
func (v Verifier) Verify(body []byte, h http.Header) error {
	keys, err := v.keys()
	if err != nil {
		return err
	}
	claim, err := v.readClaim(h)
	if err != nil {
		return err
	}
	return claim.check(keys, body)
}

// Check returns ErrInvalid if Secrets or Tolerance cannot be right: to be seen when a program starts, and
// not at its first request.
func (v Verifier) Check() error {
	_, err := v.keys()
	return err
}

// Middleware lets only verified requests through to next, which reads the body as if it were the
// first to do so. It answers all others: 400 if headers are missing or malformed or the body breaks
// off, 401 if the signature or its time is wrong, 413 if the body exceeds MaxBody, 500 if Secrets
// cannot be right (and logs why).
func (v Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := v.readVerified(w, r)
		if err != nil {
			refuse(w, r, err)
			return
		}
		again := r.WithContext(r.Context()) // a copy: the request belongs to the server
		again.Body = io.NopCloser(bytes.NewReader(body))
		again.ContentLength = int64(len(body))
		next.ServeHTTP(w, again)
	})
}

func (v Verifier) readVerified(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	keys, err := v.keys()
	if err != nil {
		return nil, err
	}
	claim, err := v.readClaim(r.Header) // before the body: a stranger costs no memory
	if err != nil {
		return nil, err
	}
	limit := v.MaxBody
	if limit <= 0 {
		limit = 1 << 20
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("webhook: read body: %w", err)
	}
	return body, claim.check(keys, body)
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadRequest
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, ErrInvalid):
		slog.ErrorContext(r.Context(), "webhook verification is not set up", "error", err)
		http.Error(w, "webhook: verification is not set up", http.StatusInternalServerError)
		return
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrSignatureTime), errors.Is(err, ErrSignatureMismatch):
		status = http.StatusUnauthorized
	}
	http.Error(w, err.Error(), status)
}

// verifyKey is one of the two.
type verifyKey struct {
	hmac   *signingKey
	public ed25519.PublicKey
}

func (v Verifier) keys() ([]verifyKey, error) {
	if len(v.Secrets) == 0 {
		return nil, invalid("Verifier.Secrets", "are empty: without one every request would pass or none")
	}
	if v.Tolerance < 0 {
		return nil, invalid("Verifier.Tolerance", "is negative")
	}
	keys := make([]verifyKey, len(v.Secrets))
	for i, secret := range v.Secrets {
		key, err := parseVerifyKey(secret)
		if err != nil {
			return nil, invalid(fmt.Sprintf("Verifier.Secrets[%d]", i), "%v", err)
		}
		keys[i] = key
	}
	return keys, nil
}

func parseVerifyKey(secret string) (verifyKey, error) {
	if strings.HasPrefix(secret, publicPrefix) {
		public, err := decodePublic(secret)
		return verifyKey{public: public}, err
	}
	key, err := parseSigningKey(secret)
	if err != nil {
		return verifyKey{}, err
	}
	if key.private != nil {
		return verifyKey{public: key.private.Public().(ed25519.PublicKey)}, nil
	}
	return verifyKey{hmac: key}, nil
}

// signatureClaim is what the headers of a request say, not yet believed.
type signatureClaim struct {
	id         string
	timestamp  string
	signatures []string
}

func (v Verifier) readClaim(h http.Header) (signatureClaim, error) {
	c := signatureClaim{}
	var err error
	if c.id, err = single(h, HeaderID); err != nil {
		return c, err
	}
	if checkMessageID(c.id) != nil {
		return c, fmt.Errorf("%w: webhook-id has characters that an ID cannot have", ErrSignatureHeaders)
	}
	if c.timestamp, err = single(h, HeaderTimestamp); err != nil {
		return c, err
	}
	if c.signatures, err = signatures(h); err != nil {
		return c, err
	}
	return c, v.checkTime(c.timestamp)
}

// single refuses a repeated header: two readers might each believe another of them.
func single(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) == 1 && values[0] != "" {
		return values[0], nil
	}
	if len(values) > 1 {
		return "", fmt.Errorf("%w: %s is given %d times", ErrSignatureHeaders, strings.ToLower(name), len(values))
	}
	return "", fmt.Errorf("%w: %s is missing", ErrSignatureHeaders, strings.ToLower(name))
}

func (v Verifier) checkTime(timestamp string) error {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	// Signs, leading zeros and the like would be other bytes than were signed.
	if err != nil || seconds < 0 || seconds > 1<<40 || strconv.FormatInt(seconds, 10) != timestamp {
		return fmt.Errorf("%w: webhook-timestamp is not a number of seconds since 1970", ErrSignatureHeaders)
	}
	now, tolerance := time.Now, v.Tolerance
	if v.Now != nil {
		now = v.Now
	}
	if tolerance == 0 {
		tolerance = 5 * time.Minute
	}
	age := now().Sub(time.Unix(seconds, 0))
	if age > tolerance {
		return fmt.Errorf("%w: %v old, %v is allowed; check both clocks", ErrSignatureTime, age.Truncate(time.Second), tolerance)
	}
	if age < -tolerance { // not -age > tolerance: Sub saturates at a value whose negative overflows
		return fmt.Errorf("%w: %v ahead, %v is allowed; check both clocks", ErrSignatureTime, -age.Truncate(time.Second), tolerance)
	}
	return nil
}

// maxSignatures bounds the work that a stranger can ask for with one header.
const maxSignatures = 64

// signatures returns those of a version that we know. Unlike the ID and the time, the header may be
// repeated: each signature stands for itself.
func signatures(h http.Header) ([]string, error) {
	var known []string
	all := 0
	for _, line := range h.Values(HeaderSignature) {
		for signature := range strings.FieldsSeq(line) {
			if all++; all > maxSignatures {
				return nil, fmt.Errorf("%w: webhook-signature has more than %d", ErrSignatureHeaders, maxSignatures)
			}
			version, _, ok := strings.Cut(signature, ",")
			if !ok {
				return nil, fmt.Errorf("%w: webhook-signature has a part without version", ErrSignatureHeaders)
			}
			if version == "v1" || version == "v1a" {
				known = append(known, signature)
			}
		}
	}
	if all == 0 {
		return nil, fmt.Errorf("%w: webhook-signature is missing", ErrSignatureHeaders)
	}
	return known, nil
}

func (c signatureClaim) check(keys []verifyKey, body []byte) error {
	for _, key := range keys {
		if c.matches(key, body) {
			return nil
		}
	}
	return fmt.Errorf("%w: check the secret, and that the body is the bytes as received", ErrSignatureMismatch)
}

func (c signatureClaim) matches(key verifyKey, body []byte) bool {
	if key.hmac != nil {
		want := key.hmac.appendSignature(nil, c.id, []byte(c.timestamp), body)
		found := false
		for _, signature := range c.signatures {
			found = hmac.Equal([]byte(signature), want) || found
		}
		return found
	}
	message := append(appendSigned(nil, c.id, []byte(c.timestamp)), body...)
	for _, signature := range c.signatures {
		text, ok := strings.CutPrefix(signature, "v1a,")
		if !ok {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(text)
		if err == nil && ed25519.Verify(key.public, message, raw) {
			return true
		}
	}
	return false
}
