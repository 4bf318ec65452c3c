//go:build race

package sqlite_test

// underRace: SQLite, being translated C, is thirty times slower under the race detector.
const underRace = true
