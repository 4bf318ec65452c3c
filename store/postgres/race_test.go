//go:build race

package postgres_test

// underRace: the faults wait for many timers, slowly there.
const underRace = true
