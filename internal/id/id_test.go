package id_test

import (
	"encoding/binary"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/id"
)

var published = regexp.MustCompile(`^evt_[0-9a-z]{26}$`)

func TestIDsGrowAndSplit(t *testing.T) {
	var g id.Generator
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	previous, previousKey := "", int64(-1)
	for i := range 20_000 {
		at := now.Add(time.Duration(i/1000) * time.Millisecond)
		if i%1000 == 999 {
			at = at.Add(-time.Hour) // a clock that was set back
		}
		s := g.New(id.Event, at)
		require.Regexp(t, published, s)
		require.Greater(t, s, previous)
		key, rest, ok := id.Split(id.Event, s)
		require.True(t, ok)
		require.Greater(t, key, previousKey)
		require.Equal(t, s, id.Join(id.Event, key, rest))
		require.GreaterOrEqual(t, key, id.KeyAt(at))
		previous, previousKey = s, key
	}
}

func TestIDsOfOneMillisecondOverflowIntoTheNext(t *testing.T) {
	var g id.Generator
	now := time.UnixMilli(1_800_000_000_000)
	seen := int64(-1)
	for range 1<<21 + 1 {
		key, _, ok := id.Split("", g.New("", now))
		if !ok || key <= seen {
			t.Fatalf("key %d after %d", key, seen)
		}
		seen = key
	}
}

func TestConcurrentIDsAreDistinct(t *testing.T) {
	var (
		g    id.Generator
		mu   sync.Mutex
		wg   sync.WaitGroup
		seen = map[string]bool{}
	)
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				s := g.New(id.Delivery, time.Now())
				mu.Lock()
				seen[s] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 8000)
}

func TestSplitRefuses(t *testing.T) {
	for _, s := range []string{
		"", "evt_", "01jv8m7qfj6xj9gkz7a4s2h8ey", "wd_01jv8m7qfj6xj9gkz7a4s2h8ey",
		"evt_01JV8M7QFJ6XJ9GKZ7A4S2H8EY", "evt_01jv8m7qfj6xj9gkz7a4s2h8e", "evt_7zzzzzzzzzzzzzzzzzzzzzzzzz",
		"evt_01jv8m7qfj6xj9gkz7a4s2h8eyx", "evt_01jv8m7qfj6xj9gkz7a4s2h8e!", "evt_il1o000000000000000000000u",
	} {
		require.False(t, id.Valid(id.Event, s), s)
	}
	require.True(t, id.Valid(id.Event, "evt_01jv8m7qfj6xj9gkz7a4s2h8ey"))
}

func BenchmarkNew(b *testing.B) {
	var g id.Generator
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		g.New(id.Event, now)
	}
}

// FuzzSplit holds Split against the package that the format comes from.
func FuzzSplit(f *testing.F) {
	f.Add("01jv8m7qfj6xj9gkz7a4s2h8ey")
	f.Add("03zzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("04000000000000000000000000")
	f.Add("80000000000000000000000000")
	f.Add("01JV8M7QFJ6XJ9GKZ7A4S2H8EY")
	f.Add("01jv8m7qfj6xj9gkz7a4s2h8eu")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ulid.ParseStrict(s)
		want := err == nil && strings.ToLower(s) == s && u.Time() < 1<<42
		key, rest, ok := id.Split("", s)
		require.Equal(t, want, ok)
		if ok {
			hi, lo := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
			require.Equal(t, int64(hi<<5|lo>>59), key)
			require.Equal(t, int64(lo&(1<<59-1)), rest)
			require.Equal(t, s, id.Join("", key, rest))
		}
	})
}
