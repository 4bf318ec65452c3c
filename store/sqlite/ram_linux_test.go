package sqlite_test

import "syscall"

// roomInRAM: containers often have 64 MB there, which is not enough.
func roomInRAM() bool {
	var fs syscall.Statfs_t
	return syscall.Statfs("/dev/shm", &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= 1<<30
}
