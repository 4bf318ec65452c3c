package sqlite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

// Lists by attributes answer the same before an index is built for a database that has rows, with it,
// opened without the option, and after it was dropped.
func TestIndexAttributes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	open := func(opts ...sqlite.Option) *sqlite.Store {
		st, err := sqlite.Open(path, opts...)
		require.NoError(t, err)
		return st
	}
	st := open()
	m := &maker{t: t, st: st, now: start}
	endpoint := m.endpoint()
	var sent []string
	send := func(n int) {
		for i := range n {
			m.now = m.now.Add(time.Second)
			g := m.send(m.generation(), endpoint, "")
			ev := &g.Events[0].Event
			ev.Attributes = map[string]string{"order": fmt.Sprint(i % 7), "Order": "upper", "it's:me/2": "yes"}
			if i%5 == 0 {
				ev.Attributes = nil
			}
			_, err := m.st.Commit(t.Context(), webhook.Batch{Now: m.now, Sends: []webhook.SendGroup{g}})
			require.NoError(t, err)
			sent = append(sent, g.Events[0].Deliveries[0].ID)
		}
	}
	list := func(attributes map[string]string) (got []string) {
		for _, all := range []bool{false, true} {
			got = nil
			q := webhook.DeliveryQuery{AllTenants: all, Attributes: attributes, Limit: 3, Until: m.now.Add(time.Hour)}
			for {
				page, err := m.st.ListDeliveries(t.Context(), m.now, q)
				require.NoError(t, err)
				if len(page) == 0 {
					break
				}
				for _, item := range page {
					got = append(got, item.ID)
				}
				q.After = page[len(page)-1].ID
			}
		}
		return got
	}
	want := func(value int) (want []string) {
		for i := len(sent) - 1; i >= 0; i-- {
			if i%35%7 == value && i%5 != 0 {
				want = append(want, sent[i])
			}
		}
		return want
	}
	check := func(indexes int) {
		t.Helper()
		require.Equal(t, want(3), list(map[string]string{"order": "3"}))
		require.Equal(t, want(4), list(map[string]string{"order": "4", "Order": "upper"}))
		require.Len(t, list(map[string]string{"it's:me/2": "yes"}), len(sent)*4/5)
		require.Empty(t, list(map[string]string{"order": "3", "Order": "lower"}))
		require.Empty(t, list(map[string]string{"order": "33"}))
		require.Equal(t, indexes, attributeIndexes(t, m.st.(*sqlite.Store).DB()))
	}
	reopen := func(opts ...sqlite.Option) {
		require.NoError(t, m.st.(*sqlite.Store).Close())
		m.st = open(opts...)
	}
	send(35)
	check(0)
	reopen(sqlite.IndexAttributes("order"))
	check(1)
	send(35)
	check(1)
	reopen()
	check(1)
	reopen(sqlite.IndexAttributes("order", "Order"))
	check(2)
	reopen(sqlite.IndexAttributes("Order"))
	check(1)
	reopen(sqlite.IndexAttributes())
	check(0)
	require.NoError(t, m.st.(*sqlite.Store).Close())

	for _, key := range []string{"", `a"b`, "it's", "two words"} {
		_, err := sqlite.Open(path, sqlite.IndexAttributes(key))
		require.ErrorIs(t, err, webhook.ErrInvalid, key)
	}
}

func attributeIndexes(t *testing.T, db *sql.DB) (n int) {
	require.NoError(t, db.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name LIKE 'webhook_attribute_%'`).Scan(&n))
	return n
}

// What was replayed is found by its event's attributes, too.
func TestIndexAttributesFindReplays(t *testing.T) {
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "webhooks.db"), sqlite.IndexAttributes("k"))
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	m := &maker{t: t, st: st, now: start}
	a, b := m.endpoint(), m.endpoint()
	g := m.send(m.generation(), a, "")
	g.Events[0].Event.Attributes = map[string]string{"k": "v"}
	commit := func(g webhook.SendGroup) {
		r, err := st.Commit(t.Context(), webhook.Batch{Now: m.now, Sends: []webhook.SendGroup{g}})
		require.NoError(t, err)
		require.Equal(t, webhook.SendStored, r.Sends[0].Status)
	}
	commit(g)
	m.now = m.now.Add(time.Hour)
	again := m.send(m.generation(), b, "")
	again.Events[0].Event, again.Events[0].Replay = webhook.Event{ID: g.Events[0].Event.ID}, true
	commit(again)
	items, err := st.ListDeliveries(t.Context(), m.now, webhook.DeliveryQuery{Attributes: map[string]string{"k": "v"}})
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Equal(t, again.Events[0].Deliveries[0].ID, items[0].ID)
}
