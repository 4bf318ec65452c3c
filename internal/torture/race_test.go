//go:build race

package main

// underRace: several processes under the race detector are too slow for what is timed here.
const underRace = true
