//go:build race

package sqlite_test

// moments is at how many places of the log the power goes: few, since SQLite is thirty times slower
// under the race detector.
const moments = 5
