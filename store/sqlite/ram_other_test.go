//go:build !linux

package sqlite_test

func roomInRAM() bool { return false }
