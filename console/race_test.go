//go:build race

package console_test

const slower = 20 // the race detector's price
