package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

// placeOrder stores an order and its event, both or neither.
func placeOrder(ctx context.Context, db *sql.DB, store *sqlite.Store, d *webhook.Dispatcher, number int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO orders (number) VALUES (?)`, number); err != nil {
		return err
	}
	event := webhook.Event{Type: "order.created", Payload: fmt.Appendf(nil, `{"order":%d}`, number)}
	if _, err := d.SendTx(ctx, store.WithTx(tx), event); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	d.Wake() // or the next poll finds it
	return nil
}

// A database of your own holds orders and webhooks, and one transaction stores both.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Panic(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(dir, "shop.db"))+
		"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		log.Panic(err)
	}
	defer db.Close()
	store, err := sqlite.New(db)
	if err != nil {
		log.Panic(err)
	}
	d, err := webhook.New(store, webhook.Config{})
	if err != nil {
		log.Panic(err)
	}
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, `CREATE TABLE orders (number INTEGER PRIMARY KEY)`); err != nil {
		log.Panic(err)
	}

	for _, number := range []int{1, 2, 2} { // the last one breaks the primary key
		fmt.Println(number, "stored:", placeOrder(ctx, db, store, d, number) == nil)
	}
	events, err := d.ListEvents(ctx, webhook.EventQuery{})
	fmt.Println(len(events), "events", err)
	// Output:
	// 1 stored: true
	// 2 stored: true
	// 2 stored: false
	// 2 events <nil>
}
