package sqldb

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// none stands for NULL in a field that holds a time.
const none = math.MinInt64

// opt is the column of a time that may be none.
func opt(us int64) any {
	if us == none {
		return nil
	}
	return us
}

// ref is the column of a name's number that may be 0.
func ref(num int64) any {
	if num == 0 {
		return nil
	}
	return num
}

func (r row) opt(i int) int64 {
	if r[i] == nil {
		return none
	}
	return r.int(i)
}

func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func flag(b bool) any {
	if b {
		return int64(1)
	}
	return int64(0)
}

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

// jsonMap is the column of a map that may be nil.
func jsonMap(m map[string]string) any {
	if m == nil {
		return nil
	}
	var buf [16]string
	keys := buf[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b := make([]byte, 0, 256)
	for i, k := range keys {
		if i == 0 {
			b = append(b, '{')
		} else {
			b = append(b, ',')
		}
		b = appendString(b, k)
		b = append(b, ':')
		b = appendString(b, m[k])
	}
	if len(keys) == 0 {
		return "{}"
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

func (r row) stringMap(i int) (m map[string]string, err error) {
	if r[i] == nil {
		return nil, nil
	}
	err = json.Unmarshal(r.bytes(i), &m)
	return m, err
}

func jsonList(list []string) any {
	if list == nil {
		return nil
	}
	b, _ := json.Marshal(list) // strings cannot fail
	return string(b)
}

func (r row) list(i int) (list []string, err error) {
	if r[i] == nil {
		return nil, nil
	}
	err = json.Unmarshal(r.bytes(i), &list)
	return list, err
}

// ident is an ID as rows keep it.
type ident struct{ key, rest int64 }

// pack writes the deliveries of an event; nil if there are none.
func pack(ids []ident) any {
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

// keys reads what group_concat made of keys.
func (r row) keys(i int) (keys []int64, err error) {
	for text := range strings.SplitSeq(r.str(i), ",") {
		if text == "" {
			continue // NULL: there were none
		}
		key, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func deliveryIDs(ids []ident) []string {
	out := make([]string, len(ids))
	for i, d := range ids {
		out[i] = id.Join(id.Delivery, d.key, d.rest)
	}
	return out
}

// chunks are the numbers of rows or keys that statements are made for, so that few are prepared.
var chunks = [...]int{64, 16, 4, 1}

// inKeys runs do for groups of keys, with the placeholders for IN and the arguments: a group that is
// not full repeats its last key.
func inKeys(keys []int64, do func(marks string, args []any) error) error {
	for len(keys) > 0 {
		size := 1
		for _, c := range chunks {
			if c == 1 || len(keys) > c/4 {
				size = c
				break
			}
		}
		n := min(size, len(keys))
		args := make([]any, size)
		for i := range args {
			args[i] = keys[min(i, n-1)]
		}
		if err := do(marksFor(size), args); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

var marksOf = func() map[int]string {
	m := map[int]string{}
	for _, n := range chunks {
		m[n] = strings.Repeat("?, ", n-1) + "?"
	}
	return m
}()

func marksFor(n int) string { return marksOf[n] }

// zeroTime reads a time that is never NULL; the zero time stands for none.
func zeroTime(us int64) time.Time {
	if t := fromMicro(us); !t.IsZero() {
		return t
	}
	return time.Time{}
}
