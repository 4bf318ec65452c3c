package load

import (
	"slices"
	"time"
)

// Percentile returns the p-th percentile of values, which it sorts; 0 of none.
func Percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)*p/100, len(values)-1)]
}
