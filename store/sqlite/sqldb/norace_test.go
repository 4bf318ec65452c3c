//go:build !race

package sqldb

const underRace = false
