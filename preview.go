package webhook

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook/internal/http1"
)

const (
	maxCapturedHeaders = 16 << 10 // bytes of names and values kept of a response
	maxRetryAfter      = 24 * time.Hour
	maxErrorText       = 512
)

// readUpTo fills buf from r and says how much it got, and whether that was all there is. Unlike
// io.ReadFull it tells the end of a body from a body that broke off.
func readUpTo(r io.Reader, buf []byte) (n int, ended bool, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if err == io.EOF {
		return n, true, nil
	}
	return n, false, err
}

// cleanText makes valid UTF-8 without NUL of b, at most limit bytes long, so that every store can
// keep it. It reports whether something had to be cut off; a character that b itself breaks off in
// the middle counts only if more says that b goes on.
func cleanText(b []byte, limit int, more bool) (text string, cut bool) {
	if len(b) <= limit && !more && plain(b) {
		return string(b), false
	}
	if more {
		b = b[:len(b)-danglingBytes(b)]
	}
	var out strings.Builder
	out.Grow(min(len(b), limit))
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == 0 {
			r = utf8.RuneError
		}
		if out.Len()+utf8.RuneLen(r) > limit {
			return out.String(), true
		}
		out.WriteRune(r)
		b = b[size:]
	}
	return out.String(), more
}

func plain(b []byte) bool {
	return bytes.IndexByte(b, 0) < 0 && utf8.Valid(b)
}

// danglingBytes counts the bytes at the end of b that begin a character and do not finish it.
func danglingBytes(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// cleanLine is cleanText for header values and error texts.
func cleanLine(s string, limit int) string {
	if len(s) <= limit && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	text, _ := cleanText([]byte(s), limit, false)
	return text
}

// captureHeaders returns what is kept of a response's headers: repeated values joined, cookies
// dropped, and no more than a bounded number of bytes. What does not fit is left out whole.
func captureHeaders(h http.Header) map[string]string {
	kept, left := make(map[string]string, len(h)), maxCapturedHeaders
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name == "Set-Cookie" || name == "Set-Cookie2" || len(h[name]) == 0 {
			continue
		}
		size := len(name)
		for _, v := range h[name] {
			size += len(v) + len(", ")
		}
		if size > left {
			continue
		}
		value := cleanLine(strings.Join(h[name], ", "), left)
		kept[cleanLine(name, left)] = value
		left -= max(size, len(name)+len(value))
	}
	return kept
}

// captureFields is captureHeaders for a response on a connection of our own, whose strings are all cut
// from one.
func captureFields(h *http1.Head) map[string]string {
	if h.Size > maxCapturedHeaders/4 { // which broken UTF-8 can make three times as much

		header := make(http.Header, len(h.Fields))
		for _, f := range h.Fields {
			name := strings.Clone(f.Name)
			header[name] = append(header[name], strings.Clone(f.Value))
		}
		return captureHeaders(header)
	}
	kept := make(map[string]string, len(h.Fields))
	for _, f := range h.Fields {
		if f.Name == "Set-Cookie" || f.Name == "Set-Cookie2" {
			continue
		}
		value := cleanLine(f.Value, maxCapturedHeaders)
		if before, again := kept[f.Name]; again {
			value = before + ", " + value
		}
		kept[f.Name] = value
	}
	return kept
}

// parseRetryAfter reads a Retry-After header, seconds or an HTTP date. The wait is between 0 and
// 24 h, however absurd the hint. ok is false for what is neither.
func parseRetryAfter(h string, now time.Time) (wait time.Duration, ok bool) {
	h = strings.TrimSpace(h)
	if h != "" && strings.Trim(h, "0123456789") == "" {
		seconds, err := strconv.ParseInt(h, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(h)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}
