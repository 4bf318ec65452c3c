// Package sender has the contenders, each in its best settings, and the studies.
package sender

import (
	"log/slog"
	"os"

	"github.com/outhook/webhook/benchmarks/internal/peer"
)

// Senders are measured in what they send.
var Senders = map[string]peer.Opener{
	"bare":           openBare,
	"fdatasync":      openProbe,
	"sqlite":         openSQLite,
	"memory":         openMemory,
	"postgres":       openPostgres,
	"processes":      openProcesses,
	"river-postgres": openRiverPostgres,
	"asynq":          openAsynq,
	"backlite":       openBacklite,
	"table-sqlite":   openTableSQLite,
	"table-postgres": openTablePostgres,
}

// Studies measure something else.
var Studies = map[string]peer.Study{
	"storm":    storm,
	"finished": finished,
	"waiting":  waiting,
}

func errorsOnly() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
