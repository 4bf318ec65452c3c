//go:build !race

package sqlite_test

// moments is at how many places of the log the power goes.
const moments = 50
