package sqldb

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

type coded int

func (coded) Error() string { return "driver" }
func (c coded) Code() int   { return int(c) }

func TestErrorsSayWhatToDo(t *testing.T) {
	for fault, want := range map[error]string{
		coded(13):                           "the disk is full",
		coded(4874):                         "the disk is full", // SQLITE_IOERR_SHMSIZE
		coded(10):                           "the disk failed",
		coded(10 | 4<<8):                    "the disk failed",
		coded(5 | 2<<8):                     "write lock too long",
		errors.New("database is locked"):    "write lock too long",
		errors.New("something else entire"): "sqlite: something else entire",
	} {
		err := explain(fault)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, fault)
	}
}
