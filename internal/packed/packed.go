// Package packed writes what is never searched for of an attempt into two values for a database, since a
// column costs as much to write as its value: the body is what stays, the capture what retention and erasure
// take away.
package packed

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

// A body is the number of its flags, then what they announce, in the order of Pack. Times are
// microseconds after the attempt's StartedAt. Only ever add flags.
const (
	hasBulk = 1 << iota
	hasStatusCode
	hasError
	hasDelivered
	hasResponded
	hasTimings
	hasResends
	hasRetryAfter
	hasNextAttempt
	hasRemoteAddr
	isTruncated
	isApplied // its outcome took effect on the delivery
	isLost    // Claim wrote it for a lost lease
)

// triggers are numbered by their place. Only ever append.
var triggers = []webhook.Trigger{
	webhook.TriggerInitial, webhook.TriggerAutomatic, webhook.TriggerManual, webhook.TriggerBulkRetry,
	webhook.TriggerUnpause,
}

// Body is what a body holds beside the fields of the attempt itself.
type Body struct {
	Rest          int64 // of the attempt's ID
	Number        int64
	Bulk          int64 // the store's number for the bulk retry; 0: none
	Created       int64
	Applied, Lost bool
}

// Pack returns the body of an attempt.
func (b Body) Pack(a *webhook.DeliveryAttempt) []byte {
	flags := uint64(0)
	set := func(flag uint64, on bool) bool {
		if on {
			flags |= flag
		}
		return on
	}
	set(hasBulk, b.Bulk != 0)
	set(hasStatusCode, a.StatusCode != nil)
	set(hasError, a.Error != "")
	set(hasDelivered, a.DeliveredAt != nil)
	set(hasResponded, a.RespondedAt != nil)
	set(hasTimings, a.Timings != nil)
	set(hasResends, a.Resends != 0)
	set(hasRetryAfter, a.RetryAfterMS != nil)
	set(hasNextAttempt, a.NextAttemptAt != nil)
	set(hasRemoteAddr, a.RemoteAddr != "")
	set(isTruncated, a.ResponseBodyTruncated)
	set(isApplied, b.Applied)
	set(isLost, b.Lost)
	started := a.StartedAt.UnixMicro()
	p := make([]byte, 0, 64+len(a.URL)+len(a.Error))
	p = binary.AppendUvarint(p, flags)
	p = binary.BigEndian.AppendUint64(p, uint64(b.Rest))
	p = binary.AppendUvarint(p, uint64(b.Number))
	p = binary.AppendUvarint(p, uint64(max(0, slices.Index(triggers, a.Trigger))))
	p = binary.AppendVarint(p, b.Created-started)
	p = binary.AppendVarint(p, a.DurationMS)
	p = appendText(p, a.Method)
	p = appendText(p, a.URL)
	if b.Bulk != 0 {
		p = binary.AppendVarint(p, b.Bulk)
	}
	if a.StatusCode != nil {
		p = binary.AppendVarint(p, int64(*a.StatusCode))
	}
	if a.Error != "" {
		p = appendText(p, a.Error)
	}
	for _, t := range [...]*time.Time{a.DeliveredAt, a.RespondedAt} {
		if t != nil {
			p = binary.AppendVarint(p, t.UnixMicro()-started)
		}
	}
	if t := a.Timings; t != nil {
		for _, ms := range [...]float64{t.DNSMS, t.ConnectMS, t.TLSMS, t.TTFBMS} {
			p = appendFloat(p, ms)
		}
	}
	if a.Resends != 0 {
		p = binary.AppendVarint(p, int64(a.Resends))
	}
	if a.RetryAfterMS != nil {
		p = binary.AppendVarint(p, *a.RetryAfterMS)
	}
	if a.NextAttemptAt != nil {
		p = binary.AppendVarint(p, a.NextAttemptAt.UnixMicro()-started)
	}
	if a.RemoteAddr != "" {
		p = appendText(p, a.RemoteAddr)
	}
	return p
}

// UnpackBody fills in an attempt that started at a number of microseconds since 1970.
func UnpackBody(body []byte, started int64, a *webhook.DeliveryAttempt) (b Body, err error) {
	p := NewReader(body)
	flags := p.Uvarint()
	has := func(flag uint64) bool { return flags&flag != 0 }
	at := func() *time.Time { t := time.UnixMicro(started + p.Varint()).UTC(); return &t }
	b.Rest, b.Applied, b.Lost = p.Fixed(), has(isApplied), has(isLost)
	b.Number = int64(p.Uvarint())
	a.AttemptNumber = int(b.Number)
	if n := p.Uvarint(); n < uint64(len(triggers)) {
		a.Trigger = triggers[n]
	}
	b.Created = started + p.Varint()
	a.DurationMS = p.Varint()
	a.Method, a.URL = p.text(), p.text()
	if has(hasBulk) {
		b.Bulk = p.Varint()
	}
	if has(hasStatusCode) {
		code := int(p.Varint())
		a.StatusCode = &code
	}
	if has(hasError) {
		a.Error = p.text()
	}
	if has(hasDelivered) {
		a.DeliveredAt = at()
	}
	if has(hasResponded) {
		a.RespondedAt = at()
	}
	if has(hasTimings) {
		a.Timings = &webhook.Timings{DNSMS: p.float(), ConnectMS: p.float(), TLSMS: p.float(), TTFBMS: p.float()}
	}
	if has(hasResends) {
		a.Resends = int(p.Varint())
	}
	if has(hasRetryAfter) {
		wait := p.Varint()
		a.RetryAfterMS = &wait
	}
	if has(hasNextAttempt) {
		a.NextAttemptAt = at()
	}
	if has(hasRemoteAddr) {
		a.RemoteAddr = p.text()
	}
	a.ResponseBodyTruncated = has(isTruncated)
	return b, p.End()
}

// Capture packs headers and preview; nil if there are none.
func Capture(a *webhook.DeliveryAttempt) []byte {
	if a.RequestHeaders == nil && a.ResponseHeaders == nil && a.ResponseBodyPreview == nil {
		return nil
	}
	size := 8
	for _, m := range [...]map[string]string{a.RequestHeaders, a.ResponseHeaders} {
		for k, v := range m {
			size += len(k) + len(v) + 4
		}
	}
	if a.ResponseBodyPreview != nil {
		size += len(*a.ResponseBodyPreview)
	}
	p := make([]byte, 0, size)
	p = appendMap(p, a.RequestHeaders)
	p = appendMap(p, a.ResponseHeaders)
	if a.ResponseBodyPreview == nil {
		return append(p, 0)
	}
	return appendText(append(p, 1), *a.ResponseBodyPreview)
}

// UnpackCapture fills in what Capture packed.
func UnpackCapture(capture []byte, a *webhook.DeliveryAttempt) error {
	if capture == nil {
		return nil
	}
	p := NewReader(capture)
	a.RequestHeaders, a.ResponseHeaders = p.stringMap(), p.stringMap()
	if p.Uvarint() == 1 {
		preview := p.text()
		a.ResponseBodyPreview = &preview
	}
	return p.End()
}

func appendText(p []byte, s string) []byte {
	p = binary.AppendUvarint(p, uint64(len(s)))
	return append(p, s...)
}

// appendFloat takes one byte for zero, as most timings of a kept connection are.
func appendFloat(p []byte, f float64) []byte {
	if f == 0 {
		return append(p, 0)
	}
	return binary.BigEndian.AppendUint64(append(p, 1), math.Float64bits(f))
}

// appendMap keeps nil apart from empty.
func appendMap(p []byte, m map[string]string) []byte {
	if m == nil {
		return append(p, 0)
	}
	p = binary.AppendUvarint(p, uint64(len(m))+1)
	for k, v := range m {
		p = appendText(appendText(p, k), v)
	}
	return p
}

// ErrDamaged says that what a column holds was not written by this package.
var ErrDamaged = errors.New("a packed column is damaged")

// Reader reads what was packed. After a fault it reads zeros; End reports it.
type Reader struct {
	left  []byte
	fault bool
}

// NewReader reads a column from its beginning.
func NewReader(column []byte) Reader { return Reader{left: column} }

// More reports whether there is something left to read.
func (p *Reader) More() bool { return len(p.left) > 0 }

func (p *Reader) take(n uint64) []byte {
	if n > uint64(len(p.left)) {
		p.fault, p.left = true, nil
		return nil
	}
	got := p.left[:n]
	p.left = p.left[n:]
	return got
}

// Uvarint reads what binary.AppendUvarint wrote.
func (p *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(p.left)
	if n <= 0 {
		p.fault, p.left = true, nil
		return 0
	}
	p.left = p.left[n:]
	return v
}

// Varint reads what binary.AppendVarint wrote.
func (p *Reader) Varint() int64 {
	v, n := binary.Varint(p.left)
	if n <= 0 {
		p.fault, p.left = true, nil
		return 0
	}
	p.left = p.left[n:]
	return v
}

// Fixed reads eight bytes, big-endian.
func (p *Reader) Fixed() int64 {
	if b := p.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (p *Reader) float() float64 {
	if p.Uvarint() == 0 {
		return 0
	}
	return math.Float64frombits(uint64(p.Fixed()))
}

func (p *Reader) text() string { return string(p.take(p.Uvarint())) }

func (p *Reader) stringMap() map[string]string {
	n := p.Uvarint()
	if n == 0 {
		return nil
	}
	m := make(map[string]string, min(n-1, uint64(len(p.left))))
	for range n - 1 {
		if p.fault {
			return nil
		}
		k := p.text()
		m[k] = p.text()
	}
	return m
}

// End returns ErrDamaged unless all was read and nothing was missing.
func (p *Reader) End() error {
	if p.fault || len(p.left) > 0 {
		return ErrDamaged
	}
	return nil
}
