// Receiver takes webhooks: it lets in only what is signed, and does each event once, however often it comes.
//
//	WEBHOOK_SECRET=whsec_… go run ./examples/receiver -listen 127.0.0.1:8080 -db orders.db
//
// During a rotation WEBHOOK_SECRET may hold several secrets, separated by spaces.
package main

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	path := flag.String("db", "orders.db", "SQLite file")
	flag.Parse()
	db, err := open(*path)
	check(err)
	verify := webhook.Verifier{Secrets: strings.Fields(os.Getenv("WEBHOOK_SECRET"))}
	check(verify.Check())

	mux := http.NewServeMux()
	mux.Handle("POST /webhooks", verify.Middleware(orders{db}))
	listener, err := net.Listen("tcp", *listen)
	check(err)
	log.Printf("listening on http://%s/webhooks", listener.Addr())
	server := http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	check(server.Serve(listener))
}

func open(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`
		CREATE TABLE IF NOT EXISTS webhooks_seen (id TEXT PRIMARY KEY, seen_at INTEGER NOT NULL) WITHOUT ROWID;
		CREATE INDEX IF NOT EXISTS webhooks_seen_at ON webhooks_seen (seen_at);
		CREATE TABLE IF NOT EXISTS orders (number INTEGER NOT NULL)`)
	return db, err
}

// orders takes verified events.
type orders struct{ db *sql.DB }

func (o orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Number int `json:"order"`
	}
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		http.Error(w, "not an order", http.StatusBadRequest) // it is tried again, and shows in the sender's console
		return
	}
	fresh, err := o.take(r, order.Number)
	if err != nil {
		log.Printf("%s: %v", r.Header.Get(webhook.HeaderID), err)
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	if !fresh {
		log.Printf("%s came again", r.Header.Get(webhook.HeaderID))
	}
	w.WriteHeader(http.StatusNoContent) // a duplicate too: it has been done
}

// take does what the event asks for and remembers its ID, both or neither.
func (o orders) take(r *http.Request, number int) (fresh bool, err error) {
	tx, err := o.db.BeginTx(r.Context(), nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	now := time.Now()
	result, err := tx.Exec(`INSERT INTO webhooks_seen (id, seen_at) VALUES (?, ?) ON CONFLICT DO NOTHING`,
		r.Header.Get(webhook.HeaderID), now.Unix())
	if err != nil {
		return false, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	_, err = tx.Exec(`INSERT INTO orders (number) VALUES (?)`, number)
	// The sender's schedule lasts three days, and people retry by hand later: thirty are plenty.
	_, forget := tx.Exec(`DELETE FROM webhooks_seen WHERE seen_at < ?`, now.AddDate(0, 0, -30).Unix())
	if err := cmp.Or(err, forget); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
