//go:build race

package webhook_test

// underRace: all takes some ten times as long under the race detector.
const underRace = true
