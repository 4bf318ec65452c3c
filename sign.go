package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The headers of Standard Webhooks 1.0.0.
const (
	HeaderID        = "Webhook-Id"        // the event's ID: the same on every attempt
	HeaderTimestamp = "Webhook-Timestamp" // of the attempt, seconds since 1970
	HeaderSignature = "Webhook-Signature" // "v1,…" or "v1a,…", one for each secret, with spaces between
)

// Sign returns the signature of one message as the webhook-signature header has it: "v1,…" for a
// whsec_ secret and "v1a,…" for a whsk_ one. It signs the whole seconds of at. The error is an
// [ErrInvalid]: the secret does not decode, or the id is empty or has a character that an ID cannot
// have, such as ".".
func Sign(secret, id string, at time.Time, body []byte) (string, error) {
	key, err := parseSigningKey(secret)
	if err != nil {
		return "", invalid("Secret", "%v", err)
	}
	if err := checkMessageID(id); err != nil {
		return "", err
	}
	timestamp := strconv.AppendInt(nil, at.Unix(), 10)
	return string(key.appendSignature(nil, id, timestamp, body)), nil
}

// standardSigner signs by Standard Webhooks with every secret of a message. Its zero value is ready.
type standardSigner struct{ keys keyCache }

func (s *standardSigner) Sign(h http.Header, m Message) error {
	timestamp, signature, _, err := s.sign(m.ID, m.Timestamp, m.Body, m.Secrets)
	if err != nil {
		return err
	}
	values := []string{m.ID, timestamp, signature} // one slice serves all three headers
	h[HeaderID], h[HeaderTimestamp], h[HeaderSignature] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}

// sign returns what stands in the headers, and the body's length, in one piece.
func (s *standardSigner) sign(id string, at time.Time, body []byte, secrets []string) (timestamp, signature, length string, err error) {
	if len(secrets) == 0 {
		return "", "", "", errors.New("webhook: the endpoint has no live secret: rotate it")
	}
	if err := checkMessageID(id); err != nil {
		return "", "", "", err
	}
	var room [256]byte // for two v1 signatures or more, on the stack
	text := strconv.AppendInt(room[:0], at.Unix(), 10)
	digits := len(text)
	for i, secret := range secrets {
		key, err := s.keys.get(secret)
		if err != nil {
			return "", "", "", invalid("Endpoint.Secrets", "cannot sign: secret %d %v", i+1, err)
		}
		if i > 0 {
			text = append(text, ' ')
		}
		text = key.appendSignature(text, id, text[:digits], body)
	}
	signed := len(text)
	all := string(strconv.AppendInt(text, int64(len(body)), 10))
	return all[:digits], all[digits:signed], all[signed:], nil
}

// checkMessageID keeps out what would let the three signed parts be divided in another way, and what
// a header cannot carry.
func checkMessageID(id string) error {
	if id == "" {
		return invalid("ID", "is empty")
	}
	for i := range len(id) {
		if c := id[i]; c == '.' || c <= ' ' || c >= 0x7f {
			return invalid("ID", "has %q at byte %d: use printable ASCII without spaces and dots", c, i)
		}
	}
	return nil
}

// signingKey is a decoded secret. A HMAC that was used once keeps its padded key's state, so that
// the next signature hashes only the message.
type signingKey struct {
	private ed25519.PrivateKey // or nil
	secret  []byte             // of the HMAC

	mu    sync.Mutex
	mac   hash.Hash // guarded by mu
	bytes []byte    // guarded by mu; scratch
}

func parseSigningKey(secret string) (*signingKey, error) {
	switch {
	case secret == "":
		return nil, errors.New("is empty")
	case strings.HasPrefix(secret, hmacPrefix):
		raw, err := decodeHMAC(secret)
		if err != nil {
			return nil, err
		}
		return newHMACKey(raw), nil
	case strings.HasPrefix(secret, privatePrefix):
		private, err := decodePrivate(secret)
		return &signingKey{private: private}, err
	}
	return nil, fmt.Errorf("starts with neither %s nor %s", hmacPrefix, privatePrefix)
}

func newHMACKey(raw []byte) *signingKey {
	return &signingKey{secret: raw, mac: hmac.New(sha256.New, raw)}
}

// appendSignature appends "v1,…" or "v1a,…". The timestamp may lie in dst's own bytes.
func (k *signingKey) appendSignature(dst []byte, id string, timestamp, body []byte) []byte {
	if k.private != nil {
		message := make([]byte, 0, len(id)+len(timestamp)+len(body)+2)
		message = append(appendSigned(message, id, timestamp), body...)
		dst = append(dst, "v1a,"...)
		return base64.StdEncoding.AppendEncode(dst, ed25519.Sign(k.private, message))
	}
	if !k.mu.TryLock() { // another attempt to this endpoint signs just now: no need to wait for it
		return newHMACKey(k.secret).appendSignature(dst, id, timestamp, body)
	}
	defer k.mu.Unlock()
	k.bytes = appendSigned(k.bytes[:0], id, timestamp)
	k.mac.Reset()
	k.mac.Write(k.bytes)
	k.mac.Write(body)
	k.bytes = k.mac.Sum(k.bytes[:0])
	return base64.StdEncoding.AppendEncode(append(dst, "v1,"...), k.bytes)
}

// appendSigned appends what is signed ahead of the body.
func appendSigned(dst []byte, id string, timestamp []byte) []byte {
	dst = append(append(dst, id...), '.')
	return append(append(dst, timestamp...), '.')
}

// keyCache keeps the decoded secrets that were used last, in two generations: the older one is
// dropped when the recent one is full, unless used again by then.
type keyCache struct {
	mu            sync.RWMutex
	recent, older map[string]*signingKey // guarded by mu
}

// cachedKeys is the size of a generation. A key takes about 1 KB.
const cachedKeys = 8192

func (c *keyCache) get(secret string) (*signingKey, error) {
	c.mu.RLock()
	key := c.recent[secret]
	c.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	return c.load(secret)
}

func (c *keyCache) load(secret string) (*signingKey, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := c.recent[secret]; key != nil {
		return key, nil
	}
	key := c.older[secret]
	if key == nil {
		var err error
		if key, err = parseSigningKey(secret); err != nil {
			return nil, err
		}
	}
	if c.recent == nil || len(c.recent) >= cachedKeys {
		c.recent, c.older = make(map[string]*signingKey), c.recent
	}
	c.recent[secret] = key
	return key, nil
}
