package webhook

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// NewAESSealer returns a [Sealer] by AES-256-GCM. The first key seals, every key opens: to rotate, put a
// new one in front and keep the old ones for as long as something sealed by them is stored. A key has
// 32 random bytes, as from `openssl rand -base64 32`; it should come from where the database's backups
// do not go. Without its key, what was sealed is lost.
func NewAESSealer(keys ...[]byte) (Sealer, error) {
	if len(keys) == 0 {
		return nil, invalid("NewAESSealer", "needs at least one key of 32 random bytes")
	}
	s := &aesSealer{keys: make([]sealKey, len(keys))}
	for i, key := range keys {
		made, err := newSealKey(key)
		if err != nil {
			return nil, invalid(fmt.Sprintf("NewAESSealer key %d", i+1), "%v", err)
		}
		s.keys[i] = made
	}
	return s, nil
}

// aesSealer's sealed form is the version, the key's ID, a random nonce of 12 bytes, and ciphertext with
// tag. Version and ID are authenticated too.
type aesSealer struct{ keys []sealKey }

type sealKey struct {
	head []byte // version and key ID
	aead cipher.AEAD
}

const (
	sealVersion  = 1
	sealHeadSize = 1 + 4
)

func newSealKey(key []byte) (sealKey, error) {
	if len(key) != 32 {
		return sealKey{}, fmt.Errorf("has %d bytes: AES-256 takes 32 (decode base64 or hex first)", len(key))
	}
	if bytes.Count(key, key[:1]) == len(key) {
		return sealKey{}, fmt.Errorf("is one byte repeated: take 32 random bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealKey{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return sealKey{}, err
	}
	id := hmac.New(sha256.New, key)
	id.Write([]byte("outhook/webhook: ID of a sealing key"))
	head := id.Sum([]byte{sealVersion})[:sealHeadSize]
	return sealKey{head: head, aead: aead}, nil
}

func (s *aesSealer) Seal(plain []byte) ([]byte, error) {
	key := s.keys[0]
	sealed := make([]byte, sealHeadSize, sealHeadSize+key.aead.Overhead()+len(plain))
	copy(sealed, key.head)
	return key.aead.Seal(sealed, nil, plain, key.head), nil
}

func (s *aesSealer) Open(sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeadSize || sealed[0] != sealVersion {
		return nil, errors.New("webhook: sealed value is not by NewAESSealer, or is cut off")
	}
	head, rest := sealed[:sealHeadSize], sealed[sealHeadSize:]
	known := false
	for _, key := range s.keys {
		if !bytes.Equal(key.head, head) {
			continue
		}
		known = true
		if plain, err := key.aead.Open(nil, nil, rest, head); err == nil {
			return plain, nil
		}
	}
	if known {
		return nil, errors.New("webhook: sealed value was changed or cut off since it was sealed")
	}
	return nil, fmt.Errorf("webhook: sealed value's key %x is not among the %d given: add it to NewAESSealer, "+
		"after the one that is to seal", head[1:], len(s.keys))
}

// What is stored says itself whether it is sealed, so that a store can be turned from one to the other:
// whatever is written next is sealed, and the rest stays readable.
const (
	sealedMark = "sealed:" // base64 follows
	openMark   = "open:"   // only before a text that begins like a mark
)

// sealString returns what to store for plain. Without a Sealer that is the text itself.
func sealString(s Sealer, plain string) (string, error) {
	if s == nil {
		if strings.HasPrefix(plain, sealedMark) || strings.HasPrefix(plain, openMark) {
			return openMark + plain, nil
		}
		return plain, nil
	}
	sealed, err := s.Seal([]byte(plain))
	if err != nil {
		return "", fmt.Errorf("webhook: seal: %w", err)
	}
	return sealedMark + base64.RawStdEncoding.EncodeToString(sealed), nil
}

// openString is the inverse of sealString, whether there was a Sealer then or is one now.
func openString(s Sealer, stored string) (string, error) {
	text, sealed := strings.CutPrefix(stored, sealedMark)
	if !sealed {
		return strings.TrimPrefix(stored, openMark), nil
	}
	if s == nil {
		return "", errors.New("webhook: what is stored is sealed, and there is no Sealer: set Config.Sealer to the one that sealed it")
	}
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return "", errors.New("webhook: what is stored is marked as sealed and damaged")
	}
	plain, err := s.Open(raw)
	if err != nil {
		return "", fmt.Errorf("webhook: cannot open what is stored: %w", err)
	}
	return string(plain), nil
}
