// Package id makes and reads the identifiers of the library: a prefix and the 26 characters of
// a lowercase ULID, such as evt_01jv8m7qfj6xj9gkz7a4s2h8ey.
//
// Stores that want short keys may use [Split]: the upper 63 significant bits of an ID sort as the
// ID does and, within one process, never repeat. The generator sees to that by counting in the top
// bits of the entropy and drawing the rest at random.
package id

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// The prefixes in use.
const (
	Event     = "evt_"
	Delivery  = "wd_"
	Endpoint  = "we_"
	Attempt   = "wa_"
	BulkRetry = "br_"
)

const (
	countBits = 21 // of the entropy, kept in the key
	restBits  = 59
	maxMS     = 1<<42 - 1 // May 2109
)

// Generator makes IDs that only ever grow. It is safe for concurrent use.
type Generator struct {
	mu   sync.Mutex
	ms   uint64
	next uint32
	rand randomBuffer
}

// New returns an ID for the time now, or for the time of the last ID if that was later.
func (g *Generator) New(prefix string, now time.Time) string {
	g.mu.Lock()
	key, rest := g.draw(now)
	g.mu.Unlock()
	return Join(prefix, key, rest)
}

func (g *Generator) draw(now time.Time) (key, rest int64) {
	ms := ulid.Timestamp(now)
	random := g.rand.uint64()
	if ms > g.ms {
		g.ms = min(ms, maxMS)
		// Starting in the lower half leaves a million IDs to this millisecond.
		g.next = g.rand.uint32() >> (32 - countBits + 1)
	} else if g.next++; g.next == 1<<countBits {
		g.ms, g.next = min(g.ms+1, maxMS), 0
	}
	return int64(g.ms)<<countBits | int64(g.next), int64(random & (1<<restBits - 1))
}

// randomBuffer spares a system call for each ID.
type randomBuffer struct {
	buf  [512]byte
	left int
}

func (b *randomBuffer) take(n int) []byte {
	if b.left < n {
		// crypto/rand.Read never fails; it ends the process where the system has no randomness.
		_, _ = io.ReadFull(rand.Reader, b.buf[:])
		b.left = len(b.buf)
	}
	at := len(b.buf) - b.left
	b.left -= n
	return b.buf[at : at+n]
}

func (b *randomBuffer) uint64() uint64 { return binary.LittleEndian.Uint64(b.take(8)) }
func (b *randomBuffer) uint32() uint32 { return binary.LittleEndian.Uint32(b.take(4)) }

// Split takes an ID apart: key sorts as the ID does, rest tells IDs of equal keys apart. ok is
// false for anything that [Join] with this prefix cannot have made.
func Split(prefix, s string) (key, rest int64, ok bool) {
	text, found := strings.CutPrefix(s, prefix)
	if !found || len(text) != ulid.EncodedSize {
		return 0, 0, false
	}
	// Each character is 5 bits, 130 in all; those above the time of maxMS are 0. The boundary between key
	// and rest lies within the character at split.
	const split = 14
	upper, lower, bad := int64(0), int64(0), byte(0)
	for i := range split {
		v := values[text[i]]
		bad |= v
		upper = upper<<5 | int64(v)
	}
	at := values[text[split]]
	for i := split + 1; i < ulid.EncodedSize; i++ {
		v := values[text[i]]
		bad |= v
		lower = lower<<5 | int64(v)
	}
	if (bad|at)&invalid != 0 || values[text[0]] != 0 || values[text[1]] >= 4 {
		return 0, 0, false
	}
	return upper<<1 | int64(at>>4), int64(at&15)<<55 | lower, true
}

const invalid = 0x80

// values are those of the characters, or invalid.
var values = func() (values [256]byte) {
	for i := range values {
		values[i] = invalid
	}
	for i, c := range strings.ToLower(ulid.Encoding) {
		values[c] = byte(i)
	}
	return values
}()

// Join is the inverse of [Split].
func Join(prefix string, key, rest int64) string {
	var u ulid.ULID
	binary.BigEndian.PutUint64(u[:8], uint64(key)>>5)
	binary.BigEndian.PutUint64(u[8:], uint64(key)<<restBits|uint64(rest))
	var buf [4 + ulid.EncodedSize]byte
	n := copy(buf[:], prefix)
	text := buf[n : n+ulid.EncodedSize]
	_ = u.MarshalTextTo(text) // fails only on a buffer of another size
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			text[i] = c + 'a' - 'A'
		}
	}
	return string(buf[:n+ulid.EncodedSize])
}

// Valid reports whether s is an ID with the given prefix.
func Valid(prefix, s string) bool {
	_, _, ok := Split(prefix, s)
	return ok
}

// KeyAt returns the smallest key that an ID made at t can have.
func KeyAt(t time.Time) int64 {
	ms := t.UnixMilli()
	return max(0, min(ms, maxMS)) << countBits
}

// Time returns the millisecond at which the ID with this key was made.
func Time(key int64) time.Time { return time.UnixMilli(key >> countBits).UTC() }
