//go:build race

package sqldb

// underRace: SQLite, being translated C, is thirty times slower under the race detector.
const underRace = true
