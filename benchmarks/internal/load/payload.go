// Package load makes senders work and measures them: what they send, how fast, at what price.
package load

import (
	"fmt"
	"strconv"
	"time"
)

// PayloadBytes is the size of every payload.
const PayloadBytes = 1024

// A payload is JSON with its own number and the time of its making in fixed places, so that a receiver finds
// them without parsing: {"seq":"m000000042","at":"1767225600000000000","order":…}
const (
	seqAt, seqLen = 8, 10
	atAt, atLen   = 26, 19
)

var template = func() []byte {
	b := []byte(`{"seq":"m000000000","at":"0000000000000000000","type":"order.created","lines":[`)
	for i := 0; ; i++ {
		line := fmt.Sprintf(`{"sku":"SKU-%05d","quantity":%d,"price":"%d.95","text":"a line of an order"},`, 7919*i%99991, i%7+1, 13*i%90)
		if len(b)+len(line) > PayloadBytes-40 {
			break
		}
		b = append(b, line...)
	}
	b = append(b, `{"fill":"`...)
	for len(b) < PayloadBytes-4 {
		b = append(b, '.')
	}
	return append(b, `"}]}`...)
}()

// Payload makes the n-th payload. Those of a warm-up are marked, and no receiver counts them.
func Payload(n int, warm bool) []byte {
	b := append(make([]byte, 0, PayloadBytes), template...)
	if warm {
		b[seqAt] = 'w'
	}
	for i, v := seqAt+seqLen-1, n; v > 0; i, v = i-1, v/10 {
		b[i] = byte('0' + v%10)
	}
	Stamp(b)
	return b
}

// Stamp sets a payload's time to now.
func Stamp(b []byte) { strconv.AppendInt(b[atAt:atAt:atAt+atLen], time.Now().UnixNano(), 10) }

// Parse reads what Payload wrote.
func Parse(b []byte) (n int, warm bool, at time.Time, err error) {
	if len(b) != PayloadBytes {
		return 0, false, at, fmt.Errorf("payload has %d bytes, not %d", len(b), PayloadBytes)
	}
	n, err = strconv.Atoi(string(b[seqAt+1 : seqAt+seqLen]))
	if err != nil {
		return 0, false, at, err
	}
	nanos, err := strconv.ParseInt(string(b[atAt:atAt+atLen]), 10, 64)
	return n, b[seqAt] == 'w', time.Unix(0, nanos), err
}
