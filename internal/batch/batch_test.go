package batch_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/batch"
)

type log struct {
	mu      sync.Mutex
	batches [][]int
	at      []time.Duration
	start   time.Time
}

func (l *log) add(items []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, items)
	l.at = append(l.at, time.Since(l.start))
}

func (l *log) seen() [][]int {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.batches)
}

func (l *log) times() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.at)
}

func one(int) int { return 1 }

func TestItemsRideTogetherWhileAFlushIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		b := batch.New(2*time.Millisecond, 100, one, func(items []int) ([]int, time.Duration) {
			time.Sleep(10 * time.Millisecond)
			l.add(items)
			return nil, 0
		})
		b.Add(1, true)
		synctest.Wait()
		b.Add(2, true)
		b.Add(3, false)
		b.Add(4, true)
		time.Sleep(time.Second)
		require.Equal(t, [][]int{{1}, {2, 3, 4}}, l.seen())
		require.Equal(t, []time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, l.times())
	})
}

func TestOnlyWhatIsNotUrgentLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		b := batch.New(2*time.Millisecond, 3, one, func(items []int) ([]int, time.Duration) {
			l.add(items)
			return nil, 0
		})
		b.Add(1, false)
		synctest.Wait()
		require.Empty(t, l.seen())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, [][]int{{1}}, l.seen())

		b.Add(2, false)
		synctest.Wait()
		b.Add(3, true)
		synctest.Wait()
		require.Equal(t, []int{2, 3}, l.seen()[1])

		for i := range 7 {
			b.Add(10+i, false)
		}
		synctest.Wait()
		require.Equal(t, [][]int{{10, 11, 12}, {13, 14, 15}}, l.seen()[2:], "full batches do not wait")
		b.Kick()
		synctest.Wait()
		require.Equal(t, []int{16}, l.seen()[4])
		require.Equal(t, 2*time.Millisecond, l.times()[4])
	})
}

func TestWhatFailedGoesFirstNextTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		fails := 2
		b := batch.New(2*time.Millisecond, 100, one, func(items []int) ([]int, time.Duration) {
			l.add(items)
			if fails--; fails >= 0 {
				return items, time.Minute
			}
			return nil, 0
		})
		b.Add(1, false)
		time.Sleep(30 * time.Second)
		b.Add(2, false)
		time.Sleep(time.Hour)
		require.Equal(t, [][]int{{1}, {1, 2}, {1, 2}}, l.seen())
		require.Equal(t, 2*time.Minute+2*time.Millisecond, l.times()[2])
	})
}

func TestTakeLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(time.Hour, 100, one, func(items []int) ([]int, time.Duration) {
			t.Errorf("flushed %v", items)
			return nil, 0
		})
		b.Add(1, false)
		b.Add(2, false)
		synctest.Wait()
		require.Equal(t, []int{1, 2}, b.Take())
		synctest.Wait() // the bubble ends only if the goroutine has
	})
}

func TestNothingIsLostOrDoubledAmongManyCallers(t *testing.T) {
	var (
		mu   sync.Mutex
		seen = map[int]int{}
		done sync.WaitGroup
	)
	const callers, each = 16, 500
	done.Add(callers * each)
	b := batch.New(100*time.Microsecond, 64, one, func(items []int) ([]int, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		for _, i := range items {
			seen[i]++
			done.Done()
		}
		return nil, 0
	})
	for c := range callers {
		go func() {
			for i := range each {
				b.Add(c*each+i, i%3 == 0)
			}
		}()
	}
	done.Wait()
	require.Len(t, seen, callers*each)
}
