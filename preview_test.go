package webhook

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestCleanText(t *testing.T) {
	for _, c := range []struct {
		name, in string
		limit    int
		more     bool
		want     string
		cut      bool
	}{
		{"as it is", "héllo", 10, false, "héllo", false},
		{"NUL", "a\x00b", 10, false, "a\uFFFDb", false},
		{"broken UTF-8", "a\xffb", 10, false, "a\uFFFDb", false},
		{"cut between characters", "aé", 2, false, "a", true},
		{"end in the middle of a character, and more follows", "a\xe2\x82", 10, true, "a", true},
		{"end in the middle of a character, and no more", "a\xe2\x82", 10, false, "a\uFFFD\uFFFD", false},
		{"replacement does not fit", "abc\xff", 5, false, "abc", true},
		{"surrogate", "\xed\xa0\x80", 20, false, "\uFFFD\uFFFD\uFFFD", false},
		{"empty", "", 0, false, "", false},
		{"nothing wanted", "a", 0, true, "", true},
	} {
		text, cut := cleanText([]byte(c.in), c.limit, c.more)
		require.Equal(t, c.want, text, c.name)
		require.Equal(t, c.cut, cut, c.name)
	}
}

func FuzzCleanText(f *testing.F) {
	f.Add([]byte("a\x00\xff\xe2\x82"), 3, true)
	f.Fuzz(func(t *testing.T, b []byte, limit int, more bool) {
		limit = max(limit%4096, 0)
		text, cut := cleanText(b, limit, more)
		require.True(t, utf8.ValidString(text))
		require.NotContains(t, text, "\x00")
		require.LessOrEqual(t, len(text), limit)
		if utf8.Valid(b) && !bytes.Contains(b, []byte{0}) {
			require.True(t, strings.HasPrefix(string(b), text))
			require.Equal(t, cut, more || text != string(b))
		}
	})
}

func TestReadUpTo(t *testing.T) {
	buf := make([]byte, 4)
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		r     io.Reader
		n     int
		ended bool
		err   error
	}{
		{"shorter", strings.NewReader("ab"), 2, true, nil},
		{"longer", strings.NewReader("abcdef"), 4, false, nil},
		{"end with the last byte", iotest.DataErrReader(strings.NewReader("abcd")), 4, true, nil},
		{"broken", io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)), 1, false, broken},
		{"cut short", io.MultiReader(strings.NewReader("a"), iotest.ErrReader(io.ErrUnexpectedEOF)), 1, false, io.ErrUnexpectedEOF},
		{"byte by byte", iotest.OneByteReader(strings.NewReader("abc")), 3, true, nil},
	} {
		n, ended, err := readUpTo(c.r, buf)
		require.Equal(t, c.n, n, c.name)
		require.Equal(t, c.ended, ended, c.name)
		require.Equal(t, c.err, err, c.name)
	}
}

func TestCaptureHeaders(t *testing.T) {
	h := http.Header{
		"X-Many": {"a", "b"}, "Set-Cookie": {"session=1"}, "X-Dirty": {"a\xffb\x00"}, "X-Empty": {""}, "X-None": {},
		"A-Huge": {strings.Repeat("h", maxCapturedHeaders)}, "X-Last": {"kept"},
	}
	require.Equal(t, map[string]string{
		"X-Many": "a, b", "X-Dirty": "a\uFFFDb\uFFFD", "X-Empty": "", "X-Last": "kept",
	}, captureHeaders(h))

	many := http.Header{}
	for i := range 5000 {
		many.Set(strings.Repeat("n", 1+i%50)+string(rune('a'+i%26)), strings.Repeat("\xff", 100))
	}
	size := 0
	for name, value := range captureHeaders(many) {
		size += len(name) + len(value)
	}
	require.LessOrEqual(t, size, maxCapturedHeaders+400)
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, c := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true}, {"120", 2 * time.Minute, true}, {" 7 ", 7 * time.Second, true}, {"007", 7 * time.Second, true},
		{"86400", day, true}, {"86401", day, true}, {"9223372037", day, true},
		{"9223372036854775808", day, true}, {strings.Repeat("9", 400), day, true},
		{"Sat, 21 Nov 2026 12:01:00 GMT", time.Minute, true},
		{"Saturday, 21-Nov-26 12:01:00 GMT", time.Minute, true},
		{"Sat, 21 Nov 2026 11:00:00 GMT", 0, true},
		{"Fri, 31 Dec 9999 23:59:59 GMT", day, true},
		{"Mon, 01 Jan 0001 00:00:00 GMT", 0, true},
		{"", 0, false}, {"-1", 0, false}, {"+5", 0, false}, {"1.5", 0, false}, {"1e9", 0, false}, {"soon", 0, false}, {"0x10", 0, false},
	} {
		wait, ok := parseRetryAfter(c.in, now)
		require.Equal(t, c.ok, ok, c.in)
		require.Equal(t, c.want, wait, c.in)
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"120", "9223372037", "-1", "Sat, 21 Nov 2026 12:01:00 GMT"} {
		f.Add(s, int64(0))
	}
	f.Fuzz(func(t *testing.T, h string, now int64) {
		wait, ok := parseRetryAfter(h, time.Unix(now, 0))
		require.GreaterOrEqual(t, wait, time.Duration(0))
		require.LessOrEqual(t, wait, maxRetryAfter)
		if !ok {
			require.Zero(t, wait)
		}
	})
}
