//go:build !race

package webhook

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// attemptAllocs is what an attempt over a kept connection may allocate: the request's and the
// response's header maps (2 each), the response's header and preview, what the signature puts into
// headers, and what the record points at.
const attemptAllocs = 8

func TestAllocationsOfAnAttempt(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("counts other things, too")
	}
	for _, scheme := range []string{"http", "https"} {
		post := senders(t, scheme)["attempt"]
		var counts []float64
		for range 5 { // the pools may be emptied at any time
			counts = append(counts, testing.AllocsPerRun(200, func() {
				if err := post(); err != nil {
					t.Fatal(err)
				}
			}))
		}
		allowed := map[string]float64{"http": attemptAllocs, "https": attemptAllocs + 1}[scheme]
		require.LessOrEqual(t, slices.Min(counts), allowed, scheme)
	}
}

func TestAllocationsOfASignature(t *testing.T) {
	s, secrets, body := &standardSigner{}, []string{NewSecret().Value}, make([]byte, 1024)
	require.LessOrEqual(t, testing.AllocsPerRun(200, func() {
		if _, _, _, err := s.sign("evt_1", time.Now(), body, secrets); err != nil {
			t.Fatal(err)
		}
	}), 1.0)
}
