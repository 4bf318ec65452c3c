package postgres

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// The codes of enumerations in the database: the place in these lists. Only ever append.
var (
	deliveryStates = []webhook.DeliveryState{
		webhook.StateScheduled, webhook.StateSucceeded, webhook.StateExhausted, webhook.StateGone,
		webhook.StateCanceled, webhook.StateExpired,
	}
	endpointStates = []webhook.EndpointState{
		webhook.EndpointEnabled, webhook.EndpointPaused, webhook.EndpointDisabled, webhook.EndpointDeleted,
	}
	triggers = []webhook.Trigger{
		webhook.TriggerInitial, webhook.TriggerAutomatic, webhook.TriggerManual, webhook.TriggerBulkRetry,
		webhook.TriggerUnpause,
	}
	attemptStatuses = []webhook.AttemptStatus{
		webhook.AttemptSucceeded, webhook.AttemptFailed, webhook.AttemptInterrupted, webhook.AttemptCanceled,
	}
)

const (
	pending   = 0
	succeeded = 1
	exhausted = 2
	gone      = 3
	canceled  = 4
	expired   = 5

	triggerInitial   = 0
	triggerAutomatic = 1
	triggerUnpause   = 4
)

// number returns the code of v; what is no member counts as the first.
func number[T comparable](list []T, v T) int64 {
	return int64(max(0, slices.Index(list, v)))
}

func member[T any](list []T, n int64) (v T) {
	if 0 <= n && int(n) < len(list) {
		return list[n]
	}
	return v
}

// jsonMap is the column of a map; "" for nil.
func jsonMap(m map[string]string) string {
	if m == nil {
		return ""
	}
	var buf [16]string
	keys := buf[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b := append(make([]byte, 0, 256), '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendString(b, m[k])
	}
	return string(append(b, '}'))
}

// appendString writes a JSON string; what is plain, as nearly all headers are, goes in as it is.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func jsonList(list []string) string {
	if list == nil {
		return ""
	}
	b, _ := json.Marshal(list) // strings cannot fail
	return string(b)
}

// fromJSON reads what jsonMap and jsonList wrote.
func fromJSON[T any](text string) (v T, err error) {
	if text == "" {
		return v, nil
	}
	err = json.Unmarshal([]byte(text), &v)
	return v, err
}

// ident is an ID as rows keep it.
type ident struct{ key, rest int64 }

// pack writes the deliveries of an event; nil if there are none.
func pack(ids []ident) []byte {
	if len(ids) == 0 {
		return nil
	}
	b := make([]byte, 0, 16*len(ids))
	for _, d := range ids {
		b = binary.BigEndian.AppendUint64(b, uint64(d.key))
		b = binary.BigEndian.AppendUint64(b, uint64(d.rest))
	}
	return b
}

func unpack(b []byte) []ident {
	ids := make([]ident, 0, len(b)/16)
	for ; len(b) >= 16; b = b[16:] {
		ids = append(ids, ident{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))})
	}
	return ids
}

func keysOf(ids []ident) []int64 {
	keys := make([]int64, len(ids))
	for i := range ids {
		keys[i] = ids[i].key
	}
	return keys
}

func deliveryIDs(ids []ident) []string {
	out := make([]string, len(ids))
	for i, d := range ids {
		out[i] = id.Join(id.Delivery, d.key, d.rest)
	}
	return out
}

// sortedKeys gives writes an order, so that transactions which lock the same rows wait for each other
// instead of dying.
func sortedKeys[V any](m map[int64]V) []int64 {
	keys := make([]int64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
