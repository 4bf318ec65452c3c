package powerloss

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// VFS is the name of the virtual file system that records, for the parameter vfs of a file: URI.
const VFS = "powerloss"

// The VFS is a copy of SQLite's own with two functions replaced, and so are the methods of the files it
// opens: all locking and shared memory stays SQLite's.
var (
	registered = sync.OnceValue(registerOnce)
	original   uintptr // *Tsqlite3_vfs

	filesMu sync.Mutex
	files   = map[uintptr]*openFile{} // by sqlite3_file
)

// openFile is a file that SQLite has open.
type openFile struct {
	recorder *Recorder
	name     string
	methods  *sqlite3.Tsqlite3_io_methods // SQLite's own
	replaced uintptr                      // our copy of them
}

// The types of the functions that are replaced or called.
type (
	openFunc     = func(tls *libc.TLS, vfs, path, file uintptr, flags int32, outFlags uintptr) int32
	deleteFunc   = func(tls *libc.TLS, vfs, path uintptr, syncDir int32) int32
	closeFunc    = func(tls *libc.TLS, file uintptr) int32
	writeFunc    = func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32
	truncateFunc = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc     = func(tls *libc.TLS, file uintptr, flags int32) int32
)

func register() error { return registered() }

func registerOnce() error {
	tls := libc.NewTLS()
	original = sqlite3.Xsqlite3_vfs_find(tls, 0)
	if original == 0 {
		return errors.New("powerloss: SQLite has no VFS")
	}
	name, err := libc.CString(VFS)
	if err != nil {
		return err
	}
	memory := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	if memory == 0 {
		return errors.New("powerloss: out of memory")
	}
	vfs := at[sqlite3.Tsqlite3_vfs](memory)
	*vfs = *at[sqlite3.Tsqlite3_vfs](original)
	vfs.FpNext, vfs.FzName = 0, name
	vfs.FxOpen, vfs.FxDelete = pointer(openFunc(xOpen)), pointer(deleteFunc(xDelete))
	if rc := sqlite3.Xsqlite3_vfs_register(tls, memory, 0); rc != sqlite3.SQLITE_OK {
		return errors.New("powerloss: SQLite refused the VFS")
	}
	return nil
}

func xOpen(tls *libc.TLS, _, path, file uintptr, flags int32, outFlags uintptr) int32 {
	var r *Recorder
	name, created := "", false
	if path != 0 {
		text := libc.GoString(path)
		r, name = recorderFor(text), filepath.Base(text)
		_, err := os.Stat(text)
		created = err != nil
	}
	rc := call[openFunc](at[sqlite3.Tsqlite3_vfs](original).FxOpen)(tls, original, path, file, flags, outFlags)
	base := at[sqlite3.Tsqlite3_file](file)
	if rc != sqlite3.SQLITE_OK || base.FpMethods == 0 || r == nil {
		return rc
	}
	own := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})))
	if own == 0 {
		return sqlite3.SQLITE_NOMEM
	}
	f := &openFile{recorder: r, name: name, methods: at[sqlite3.Tsqlite3_io_methods](base.FpMethods), replaced: own}
	m := at[sqlite3.Tsqlite3_io_methods](own)
	*m = *f.methods
	m.FxClose, m.FxWrite = pointer(closeFunc(xClose)), pointer(writeFunc(xWrite))
	m.FxTruncate, m.FxSync = pointer(truncateFunc(xTruncate)), pointer(syncFunc(xSync))
	base.FpMethods = own
	filesMu.Lock()
	files[file] = f
	filesMu.Unlock()
	if created {
		r.add(Op{Kind: Create, File: name})
	}
	return rc
}

func xDelete(tls *libc.TLS, _, path uintptr, syncDir int32) int32 {
	rc := call[deleteFunc](at[sqlite3.Tsqlite3_vfs](original).FxDelete)(tls, original, path, syncDir)
	text := libc.GoString(path)
	if r := recorderFor(text); r != nil && rc == sqlite3.SQLITE_OK {
		r.add(Op{Kind: Delete, File: filepath.Base(text)})
	}
	return rc
}

func xClose(tls *libc.TLS, file uintptr) int32 {
	filesMu.Lock()
	f := files[file]
	delete(files, file)
	filesMu.Unlock()
	rc := call[closeFunc](f.methods.FxClose)(tls, file)
	libc.Xfree(tls, f.replaced)
	return rc
}

func xWrite(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	f := fileOf(file)
	f.recorder.add(Op{Kind: Write, File: f.name, Offset: offset, Data: unsafe.Slice(at[byte](data), n)})
	return call[writeFunc](f.methods.FxWrite)(tls, file, data, n, offset)
}

func xTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := fileOf(file)
	f.recorder.add(Op{Kind: Truncate, File: f.name, Offset: size})
	return call[truncateFunc](f.methods.FxTruncate)(tls, file, size)
}

// xSync: another connection may write while it lasts, and that is not safe yet.
func xSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := fileOf(file)
	upto := f.recorder.now()
	rc := call[syncFunc](f.methods.FxSync)(tls, file, flags)
	if rc == sqlite3.SQLITE_OK {
		f.recorder.add(Op{Kind: Sync, File: f.name, Upto: upto})
	}
	return rc
}

func fileOf(file uintptr) *openFile {
	filesMu.Lock()
	defer filesMu.Unlock()
	return files[file]
}

// at sees SQLite's memory, which is not Go's, as a T.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// pointer is a function as SQLite's translated C holds it; call is the way back. The function must be
// one at package level, which no garbage collector takes.
func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

func call[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }
