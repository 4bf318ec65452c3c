package batch_test

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
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
		b := batch.New(batch.Limits{Linger: 2 * time.Millisecond, Max: 100, Enough: 100}, one, func(items []int) ([]int, time.Duration) {
			time.Sleep(10 * time.Millisecond)
			l.add(items)
			return nil, 0
		})
		b.Add(1, batch.Urgent)
		synctest.Wait()
		b.Add(2, batch.Urgent)
		b.Add(3, batch.Patient)
		b.Add(4, batch.Urgent)
		time.Sleep(time.Second)
		require.Equal(t, [][]int{{1}, {2, 3, 4}}, l.seen())
		require.Equal(t, []time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, l.times())
	})
}

func TestOnlyWhatIsNotUrgentLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		b := batch.New(batch.Limits{Linger: 2 * time.Millisecond, Max: 3, Enough: 3}, one, func(items []int) ([]int, time.Duration) {
			l.add(items)
			return nil, 0
		})
		b.Add(1, batch.Patient)
		synctest.Wait()
		require.Empty(t, l.seen())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, [][]int{{1}}, l.seen())

		b.Add(2, batch.Urgent)
		synctest.Wait()
		require.Equal(t, []int{2}, l.seen()[1])

		for i := range 7 {
			b.Add(10+i, batch.Patient)
		}
		synctest.Wait()
		require.Equal(t, [][]int{{10, 11, 12}, {13, 14, 15}}, l.seen()[2:], "full batches do not wait")
		b.Kick()
		synctest.Wait()
		require.Equal(t, []int{16}, l.seen()[4])
		require.Equal(t, 2*time.Millisecond, l.times()[4])
	})
}

// A flush of patient items alone takes its time, and then leaves twenty times as long to urgent ones.
func TestPatientItemsGatherWhileUrgentOnesCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		b := batch.New(batch.Limits{Linger: 2 * time.Millisecond, Max: 100, Enough: 50}, one, func(items []int) ([]int, time.Duration) {
			time.Sleep(time.Millisecond)
			l.add(items)
			return nil, 0
		})
		add := func(at time.Duration, item int, u batch.Urgency) {
			time.Sleep(at*time.Millisecond - time.Since(l.start))
			b.Add(item, u)
		}
		add(0, 1, batch.Urgent)
		add(10, 2, batch.Patient) // flushed from 12 to 13, so the next rest until 33
		add(14, 3, batch.Patient)
		add(20, 4, batch.Urgent) // comes rarely and goes alone
		add(22, 5, batch.Urgent) // comes within two flushes and takes 3 along
		add(24, 6, batch.Patient)
		add(26, 7, batch.Soon) // waits for company no longer than any, and takes 6 along
		add(2000, 8, batch.Patient)
		add(2010, 9, batch.Patient) // no urgent ones any more
		time.Sleep(time.Second)
		require.Equal(t, [][]int{{1}, {2}, {4}, {3, 5}, {6, 7}, {8}, {9}}, l.seen())
		ms := time.Millisecond
		require.Equal(t, []time.Duration{1 * ms, 13 * ms, 21 * ms, 23 * ms, 27 * ms, 2003 * ms, 2013 * ms}, l.times())
	})
}

func TestUrgentItemsTakeManyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		b := batch.New(batch.Limits{Linger: 2 * time.Millisecond, Max: 100, Enough: 3}, one, func(items []int) ([]int, time.Duration) {
			l.add(items)
			return nil, 0
		})
		for i := range 3 {
			b.Add(i, batch.Patient)
		}
		b.Add(3, batch.Urgent)
		require.Equal(t, [][]int{{0, 1, 2, 3}}, l.seen())
	})
}

func TestWhatFailedGoesFirstNextTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		fails := 2
		b := batch.New(batch.Limits{Linger: 2 * time.Millisecond, Max: 100, Enough: 100}, one, func(items []int) ([]int, time.Duration) {
			l.add(items)
			if fails--; fails >= 0 {
				return items, time.Minute
			}
			return nil, 0
		})
		b.Add(1, batch.Patient)
		time.Sleep(30 * time.Second)
		b.Add(2, batch.Patient)
		time.Sleep(time.Hour)
		require.Equal(t, [][]int{{1}, {1, 2}, {1, 2}}, l.seen())
		require.Equal(t, 2*time.Minute+2*time.Millisecond, l.times()[2])
	})
}

func TestTakeLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(batch.Limits{Linger: time.Hour, Max: 100, Enough: 100}, one, func(items []int) ([]int, time.Duration) {
			t.Errorf("flushed %v", items)
			return nil, 0
		})
		b.Add(1, batch.Patient)
		b.Add(2, batch.Patient)
		synctest.Wait()
		require.Equal(t, []int{1, 2}, b.Take())
		synctest.Wait() // the bubble ends only if the goroutine has
	})
}

// Two flushes at once: callers are shared out evenly, and one who comes alone does not wait.
func TestFlushesOverlap(t *testing.T) {
	ms := time.Millisecond
	type added struct {
		at     time.Duration
		weight int
		u      batch.Urgency
	}
	for _, c := range []struct {
		name string
		adds []added
		want [][]int
		at   []time.Duration // when they begin
	}{
		{"one by one", []added{{0, 1, batch.Urgent}, {1, 1, batch.Urgent}, {2, 1, batch.Urgent}},
			[][]int{{1}, {1}, {1}}, []time.Duration{0, 1 * ms, 10 * ms}},
		{"few wait until they are as many", []added{{0, 4, batch.Urgent}, {1, 2, batch.Urgent}, {2, 2, batch.Urgent}},
			[][]int{{4}, {2, 2}}, []time.Duration{0, 2 * ms}},
		{"or until one lands", []added{{0, 4, batch.Urgent}, {1, 2, batch.Urgent}},
			[][]int{{4}, {2}}, []time.Duration{0, 10 * ms}},
		{"urgent ones do not wait for patient ones", []added{{0, 20, batch.Patient}, {5, 1, batch.Urgent}},
			[][]int{{20}, {1}}, []time.Duration{2 * ms, 5 * ms}},
		{"patient ones wait for any", []added{{0, 1, batch.Urgent}, {1, 3, batch.Patient}},
			[][]int{{1}, {3}}, []time.Duration{0, 10 * ms}},
		{"but not if they are many", []added{{0, 1, batch.Urgent}, {1, 50, batch.Patient}},
			[][]int{{1}, {50}}, []time.Duration{0, 3 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &log{start: time.Now()}
				weight := func(n int) int { return n }
				b := batch.New(batch.Limits{Linger: 2 * ms, Max: 100, Enough: 50, Flights: 2}, weight, func(items []int) ([]int, time.Duration) {
					l.add(items)
					time.Sleep(10 * ms)
					return nil, 0
				})
				for _, a := range c.adds {
					time.Sleep(a.at*ms - time.Since(l.start))
					b.Add(a.weight, a.u)
				}
				time.Sleep(time.Second)
				require.Equal(t, c.want, l.seen())
				require.Equal(t, c.at, l.times())
			})
		})
	}
}

// Callers who got their answer together are waited for a moment, an eighth of a flush. If they do not come back,
// none are for a tenth of a second.
func TestCallersWhoComeBackShareAFlush(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name string
		back []time.Duration
		want [][]int
		at   []time.Duration // when they begin
	}{
		{"back at once", []time.Duration{81, 82, 83, 84}, [][]int{{1}, {1, 1, 1, 1}, {1, 1, 1}, {1}}, []time.Duration{0, 40, 83, 123}},
		{"one of them", []time.Duration{81}, [][]int{{1}, {1, 1, 1, 1}, {1}}, []time.Duration{0, 40, 85}},
		{"and others later", []time.Duration{81, 90, 91, 92, 93, 166, 167, 168}, [][]int{{1}, {1, 1, 1, 1}, {1}, {1, 1, 1, 1}, {1}, {1, 1}},
			[]time.Duration{0, 40, 85, 125, 166, 206}},
		{"nobody", nil, [][]int{{1}, {1, 1, 1, 1}}, []time.Duration{0, 40}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &log{start: time.Now()}
				b := batch.New(batch.Limits{Linger: 20 * ms, Max: 100, Enough: 50}, one, func(items []int) ([]int, time.Duration) {
					l.add(items)
					time.Sleep(40 * ms)
					return nil, 0
				})
				for _, at := range append([]time.Duration{0, 5, 5, 5, 5}, c.back...) {
					time.Sleep(at*ms - time.Since(l.start))
					b.Add(1, batch.Urgent)
				}
				time.Sleep(time.Second)
				require.Equal(t, c.want, l.seen())
				for i := range c.at {
					c.at[i] *= ms
				}
				require.Equal(t, c.at, l.times())
			})
		})
	}
}

// While one flush fails and waits, what is urgent takes along what failed, and whoever lands takes up the rest.
func TestWhatFailedWaitsWhateverElseIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ms := time.Millisecond
		l := &log{start: time.Now()}
		var failures atomic.Int32
		b := batch.New(batch.Limits{Linger: 2 * ms, Max: 100, Enough: 50, Flights: 2}, one, func(items []int) ([]int, time.Duration) {
			l.add(items)
			time.Sleep(10 * ms)
			if failures.Add(1) <= 2 {
				return items, time.Minute
			}
			return nil, 0
		})
		b.Add(1, batch.Urgent)
		synctest.Wait()
		time.Sleep(5 * ms)
		b.Add(2, batch.Urgent)
		time.Sleep(time.Hour)
		require.Equal(t, [][]int{{1}, {2}, {2, 1}}, l.seen())
		require.Equal(t, []time.Duration{0, 5 * ms, time.Minute + 15*ms}, l.times())
	})
}

func TestNothingIsLostOrDoubledAmongManyCallers(t *testing.T) {
	for _, flights := range []int{1, 3} {
		t.Run(strconv.Itoa(flights), func(t *testing.T) { manyCallers(t, flights) })
	}
}

func manyCallers(t *testing.T, flights int) {
	var (
		mu   sync.Mutex
		seen = map[int]int{}
		done sync.WaitGroup
	)
	const callers, each = 16, 500
	done.Add(callers * each)
	b := batch.New(batch.Limits{Linger: 100 * time.Microsecond, Max: 64, Enough: 64, Flights: flights}, one, func(items []int) ([]int, time.Duration) {
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
				b.Add(c*each+i, batch.Urgency(i%3))
			}
		}()
	}
	done.Wait()
	require.Len(t, seen, callers*each)
}

// Lazy items leave urgent ones alone while those come often, and are flushed by themselves: when there are
// enough, in a lull, or in the end.
func TestLazyItemsHaveFlushesOfTheirOwn(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name  string
		lazy  []time.Duration
		until time.Duration // one urgent item each 4 ms
		at    []time.Duration
	}{
		{"in a lull", []time.Duration{1*ms + ms/2, 2 * ms}, 8 * ms, []time.Duration{29 * ms}},
		{"a lull that began before", []time.Duration{41 * ms}, 0, []time.Duration{44 * ms}},
		{"sixteen", slices.Repeat([]time.Duration{9*ms + ms/2}, 17), 80 * ms, []time.Duration{12*ms + ms/2}},
		{"after 100 ms", []time.Duration{11*ms + ms/2, 115*ms + ms/2}, 150 * ms, []time.Duration{112*ms + ms/2, 169 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &log{start: time.Now()}
				b := batch.New(batch.Limits{Linger: 2 * ms, Max: 100, Enough: 50}, one, func(items []int) ([]int, time.Duration) {
					time.Sleep(ms)
					l.add(items)
					return nil, 0
				})
				var all sync.WaitGroup
				for i, at := range c.lazy {
					all.Go(func() {
						time.Sleep(at)
						b.Add(100+i, batch.Lazy)
					})
				}
				for at := time.Duration(0); at <= c.until; at += 4 * ms {
					all.Go(func() {
						time.Sleep(at)
						b.Add(1, batch.Urgent)
					})
				}
				all.Wait()
				time.Sleep(time.Second)
				var at []time.Duration
				lazy := 0
				for i, items := range l.seen() {
					if items[0] >= 100 {
						at = append(at, l.times()[i])
						lazy += len(items)
					} else {
						require.Equal(t, []int{1}, items)
					}
				}
				require.Equal(t, c.at, at)
				require.Equal(t, len(c.lazy), lazy)
			})
		})
	}
}

// Where urgent items leave no time, lazy ones ride with them in the end; and where there are many of both.
func TestLazyItemsAreNotLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ms := time.Millisecond
		l := &log{start: time.Now()}
		b := batch.New(batch.Limits{Linger: 2 * ms, Max: 100, Enough: 50}, one, func(items []int) ([]int, time.Duration) {
			time.Sleep(5 * ms)
			l.add(items)
			return nil, 0
		})
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 4 * ms)
				b.Add(1, batch.Urgent)
			})
		}
		b.Add(2, batch.Lazy)
		time.Sleep(300*ms + ms/2)
		with := slices.IndexFunc(l.seen(), func(items []int) bool { return slices.Contains(items, 2) })
		require.InDelta(t, 200, l.times()[with].Milliseconds(), 10)
		require.Greater(t, len(l.seen()[with]), 1)

		for range 60 {
			b.Add(3, batch.Lazy)
		}
		before := len(l.seen())
		time.Sleep(15 * ms)
		require.Equal(t, 60, len(slices.DeleteFunc(slices.Concat(l.seen()[before:]...), func(item int) bool { return item != 3 })))
		all.Wait()
		time.Sleep(time.Second)
	})
}

func TestKickTakesLazyItemsAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{start: time.Now()}
		b := batch.New(batch.Limits{Linger: 2 * time.Millisecond, Max: 100, Enough: 50}, one, func(items []int) ([]int, time.Duration) {
			l.add(items)
			return nil, 0
		})
		b.Add(1, batch.Urgent)
		synctest.Wait()
		b.Add(2, batch.Lazy)
		b.Add(3, batch.Urgent)
		require.Equal(t, [][]int{{1}, {3}}, l.seen())
		b.Kick()
		require.Equal(t, [][]int{{1}, {3}, {2}}, l.seen())
		require.Zero(t, l.times()[2])
	})
}
