package docs_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/store/sqlite"
	"github.com/outhook/webhook/webhooktest"
)

// What the pages about moving in print stands here, and is run by the tests at the end.

// bothSigner signs by Standard Webhooks and, as before, by HMAC-SHA256 of the body in hexadecimal.
type bothSigner struct{}

func (bothSigner) Sign(h http.Header, m webhook.Message) error {
	signatures := make([]string, len(m.Secrets))
	for i, secret := range m.Secrets {
		signature, err := webhook.Sign(secret, m.ID, m.Timestamp, m.Body)
		if err != nil {
			return err
		}
		signatures[i] = signature
	}
	h.Set(webhook.HeaderID, m.ID)
	h.Set(webhook.HeaderTimestamp, strconv.FormatInt(m.Timestamp.Unix(), 10))
	h.Set(webhook.HeaderSignature, strings.Join(signatures, " "))
	if key, ok := m.Endpoint.Metadata["legacyKey"]; ok {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(m.Body)
		h.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	}
	return nil
}

// moveEndpoints makes an endpoint for each customer that has none yet, so it may run again.
func moveEndpoints(ctx context.Context, db *sql.DB, d *webhook.Dispatcher) error {
	rows, err := db.QueryContext(ctx, `SELECT id, webhook_url, webhook_key FROM customers WHERE webhook_url <> ''`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var wanted []webhook.Endpoint
	for rows.Next() {
		e, key := webhook.Endpoint{}, ""
		if err := rows.Scan(&e.TenantID, &e.URL, &key); err != nil {
			return err
		}
		e.Metadata = map[string]string{"legacyKey": key}
		wanted = append(wanted, e)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, e := range wanted {
		have, err := d.ListEndpoints(ctx, webhook.EndpointQuery{TenantID: e.TenantID})
		if err != nil {
			return err
		}
		if len(have) > 0 {
			continue
		}
		if _, err := d.CreateEndpoint(ctx, e); err != nil {
			return fmt.Errorf("customer %s: %w", e.TenantID, err)
		}
	}
	return nil
}

// moveJobs sends what the old loop had not done. The idempotency key makes it safe to run it again.
func moveJobs(ctx context.Context, db *sql.DB, d *webhook.Dispatcher) error {
	for {
		events, ids, err := openJobs(ctx, db)
		if err != nil || len(events) == 0 {
			return err
		}
		if _, err := d.SendBatch(ctx, events); err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := db.ExecContext(ctx, `UPDATE webhook_jobs SET done = 1 WHERE id = ?`, id); err != nil {
				return err
			}
		}
	}
}

// openJobs reads up to 500 jobs that are not done.
func openJobs(ctx context.Context, db *sql.DB) (events []webhook.Event, ids []int64, err error) {
	rows, err := db.QueryContext(ctx,
		`SELECT id, customer, type, body, next_at FROM webhook_jobs WHERE done = 0 ORDER BY id LIMIT 500`)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, nextAt int64
		var e webhook.Event
		if err := rows.Scan(&id, &e.TenantID, &e.Type, &e.Payload, &nextAt); err != nil {
			return nil, nil, err
		}
		e.IdempotencyKey = fmt.Sprintf("webhook_jobs-%d", id)
		e.DeliverAt = time.Unix(nextAt, 0) // in the past: now
		events, ids = append(events, e), append(ids, id)
	}
	return events, ids, rows.Err()
}

// svixSigner signs by Standard Webhooks, under the headers of both.
type svixSigner struct{}

func (svixSigner) Sign(h http.Header, m webhook.Message) error {
	signatures := make([]string, len(m.Secrets))
	for i, secret := range m.Secrets {
		signature, err := webhook.Sign(secret, m.ID, m.Timestamp, m.Body)
		if err != nil {
			return err
		}
		signatures[i] = signature
	}
	for _, prefix := range []string{"webhook-", "svix-"} {
		h.Set(prefix+"id", m.ID)
		h.Set(prefix+"timestamp", strconv.FormatInt(m.Timestamp.Unix(), 10))
		h.Set(prefix+"signature", strings.Join(signatures, " "))
	}
	return nil
}

// svixEndpoint is what Svix's API says about an endpoint, with the secret from a call of its own.
type svixEndpoint struct {
	ID, URL, Description, Secret string
	FilterTypes                  []string
	Disabled                     bool
}

// moveEndpoint makes an endpoint of what Svix's API says about one.
func moveEndpoint(ctx context.Context, d *webhook.Dispatcher, applicationUID string, old svixEndpoint) error {
	e := webhook.Endpoint{
		TenantID:    applicationUID,
		URL:         old.URL,
		Description: old.Description,
		EventTypes:  old.FilterTypes,
		Secrets:     []webhook.Secret{{Value: old.Secret}},
		Metadata:    map[string]string{"svixId": old.ID},
	}
	if old.Disabled {
		e.State = webhook.EndpointPaused // deliveries are held until you say
	}
	_, err := d.CreateEndpoint(ctx, e)
	return err
}

// eventAttempts answers like Hookdeck's list of attempts of an event.
func eventAttempts(d *webhook.Dispatcher) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		attempts, err := d.ListAttempts(r.Context(), webhook.AttemptQuery{
			TenantID: tenantOf(r), EventID: r.FormValue("event_id"),
		})
		if err != nil {
			http.Error(w, "cannot list attempts", http.StatusInternalServerError)
			return
		}
		models := make([]schema.EventAttempt, len(attempts))
		for i, a := range attempts {
			models[i] = schema.NewEventAttempt(a)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"count": len(models), "models": models})
	}
}

// tenantOf stands for your own authentication.
func tenantOf(r *http.Request) string { return r.Header.Get("X-Tenant") }

// hookdeckSigner signs by Standard Webhooks and, as before, with the project's secret.
type hookdeckSigner struct{ projectSecret string }

func (s hookdeckSigner) Sign(h http.Header, m webhook.Message) error {
	if err := standard(h, m); err != nil {
		return err
	}
	mac := hmac.New(sha256.New, []byte(s.projectSecret))
	mac.Write(m.Body)
	h.Set("X-Hookdeck-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	h.Set("X-Hookdeck-Eventid", m.ID) // which receivers use to recognise duplicates
	return nil
}

// standard signs by Standard Webhooks 1.0.0.
func standard(h http.Header, m webhook.Message) error {
	signatures := make([]string, len(m.Secrets))
	for i, secret := range m.Secrets {
		signature, err := webhook.Sign(secret, m.ID, m.Timestamp, m.Body)
		if err != nil {
			return err
		}
		signatures[i] = signature
	}
	h.Set(webhook.HeaderID, m.ID)
	h.Set(webhook.HeaderTimestamp, strconv.FormatInt(m.Timestamp.Unix(), 10))
	h.Set(webhook.HeaderSignature, strings.Join(signatures, " "))
	return nil
}

// openDispatcher is the first step on the page about tables.
func openDispatcher(db *sql.DB, use func(*webhook.Dispatcher)) error {
	store, err := sqlite.New(db) // db is your *sql.DB; its tables begin with webhook_
	if err != nil {
		return err
	}
	d, err := webhook.New(store, webhook.Config{Signer: bothSigner{}})
	if err != nil {
		return err
	}
	use(d)
	return nil
}

func TestMovingFromATable(t *testing.T) {
	receiver := webhooktest.NewReceiver(t)
	receiver.VerifyWith(func(body []byte, h http.Header) error {
		mac := hmac.New(sha256.New, []byte("key of acme"))
		mac.Write(body)
		if h.Get("X-Signature") != hex.EncodeToString(mac.Sum(nil)) {
			return webhook.ErrSignatureMismatch
		}
		return nil
	})
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "shop.db")+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)&_txlock=immediate")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(tables(t))
	require.NoError(t, err)
	_, err = db.Exec(`INSERT INTO customers VALUES ('acme', ?, 'key of acme'), ('none', '', '')`, receiver.URL)
	require.NoError(t, err)
	for n := range 3 {
		_, err = db.Exec(`INSERT INTO webhook_jobs (customer, type, body, next_at) VALUES ('acme', 'order.created', ?, ?)`,
			fmt.Sprintf(`{"order":%d}`, n), time.Now().Add(-time.Minute).Unix())
		require.NoError(t, err)
	}

	err = openDispatcher(db, func(d *webhook.Dispatcher) {
		ctx := t.Context()
		require.ErrorContains(t, moveEndpoints(ctx, db, d), "customer acme", "loopback is refused, and it says whose it is")
		e := receiver.Endpoint()
		e.TenantID, e.Metadata = "acme", map[string]string{"legacyKey": "key of acme"}
		created, err := d.CreateEndpoint(ctx, e)
		require.NoError(t, err)
		require.NoError(t, moveEndpoints(ctx, db, d), "acme has one")

		require.NoError(t, moveJobs(ctx, db, d))
		_, err = db.Exec(`UPDATE webhook_jobs SET done = 0 WHERE id = 2`) // as if it had died before the mark
		require.NoError(t, err)
		require.NoError(t, moveJobs(ctx, db, d))
		require.NoError(t, d.RunOnce(ctx))
		require.Len(t, receiver.Requests(), 3)
		for _, r := range receiver.Requests() {
			require.NoError(t, webhook.Verify(r.Body, r.Header, created.Secrets[0].Value))
		}
		var left int
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM webhook_jobs WHERE done = 0`).Scan(&left))
		require.Zero(t, left)
	})
	require.NoError(t, err)
}

func tables(t *testing.T) string {
	page := readPage(t, "moving-from-a-table.md")
	_, after, found := strings.Cut(page, "```sql\n")
	require.True(t, found)
	statements, _, _ := strings.Cut(after, "```")
	return statements
}

func TestMovingEndpointsToPublicAddresses(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "shop.db"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(tables(t) + `; INSERT INTO customers VALUES ('acme', 'https://acme.example/hook', 'k')`)
	require.NoError(t, err)
	d := webhooktest.New(t, webhook.Config{})
	for range 2 {
		require.NoError(t, moveEndpoints(t.Context(), db, d))
	}
	list, err := d.ListEndpoints(t.Context(), webhook.EndpointQuery{AllTenants: true})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "k", list[0].Metadata["legacyKey"])
}

func TestMovingFromSvix(t *testing.T) {
	store := memory.New()
	d, err := webhook.New(store, webhook.Config{
		Signer: svixSigner{},
		Retry: webhook.Jitter(webhook.Schedule(5*time.Second, 5*time.Minute, 30*time.Minute,
			2*time.Hour, 5*time.Hour, 10*time.Hour, 10*time.Hour), 0.2),
	})
	require.NoError(t, err)
	secret := webhook.NewSecret().Value
	require.NoError(t, moveEndpoint(t.Context(), d, "acme", svixEndpoint{ID: "ep_1", URL: "https://a.example/", Secret: secret, Disabled: true}))
	list, err := d.ListEndpoints(t.Context(), webhook.EndpointQuery{TenantID: "acme"})
	require.NoError(t, err)
	require.Equal(t, webhook.EndpointPaused, list[0].State)
	require.Equal(t, secret, list[0].Secrets[0].Value)

	requests := sendSigned(t, svixSigner{}, secret)
	h := requests[0].Header
	require.Equal(t, h.Get("webhook-signature"), h.Get("svix-signature"))
	require.Equal(t, requests[0].ID, h.Get("svix-id"))
	library, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	for _, name := range []string{"id", "timestamp", "signature"} { // as Svix's library reads them
		h.Set("webhook-"+name, h.Get("svix-"+name))
	}
	require.NoError(t, library.Verify(requests[0].Body, h))
}

// sendSigned sends one event through a Signer and returns what came.
func sendSigned(t *testing.T, signer webhook.Signer, secret string) []webhooktest.Request {
	receiver := webhooktest.NewReceiver(t)
	receiver.Trust(secret)
	d := webhooktest.New(t, webhook.Config{Signer: signer},
		webhook.Endpoint{URL: receiver.URL, Secrets: []webhook.Secret{{Value: secret}}, AllowPrivate: webhook.Loopback})
	_, err := d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte(`{"order":1}`)})
	require.NoError(t, err)
	return receiver.Wait(t, 1)
}

func TestMovingFromHookdeck(t *testing.T) {
	request := sendSigned(t, hookdeckSigner{"project secret"}, webhook.NewSecret().Value)[0]
	mac := hmac.New(sha256.New, []byte("project secret"))
	mac.Write(request.Body)
	require.Equal(t, base64.StdEncoding.EncodeToString(mac.Sum(nil)), request.Header.Get("x-hookdeck-signature"))

	receiver := webhooktest.NewReceiver(t)
	receiver.Script(500)
	e := receiver.Endpoint()
	e.TenantID = "acme"
	d := webhooktest.New(t, webhook.Config{Retry: webhook.Schedule(time.Millisecond)}, e)
	receipt, err := d.Send(t.Context(), webhook.Event{TenantID: "acme", Type: "order.created", Payload: []byte("{}")})
	require.NoError(t, err)
	receiver.Wait(t, 2)
	require.NoError(t, d.Idle(t.Context()))
	r := httptest.NewRequest("GET", "/attempts?event_id="+receipt.EventID, nil)
	r.Header.Set("X-Tenant", "acme")
	w := httptest.NewRecorder()
	eventAttempts(d)(w, r)
	var answer struct {
		Count  int
		Models []struct {
			Status    string
			ErrorCode string `json:"error_code"`
			Number    int    `json:"attempt_number"`
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
	require.Equal(t, 2, answer.Count)
	require.Equal(t, "SUCCESSFUL", answer.Models[0].Status)
	require.Equal(t, "BAD_RESPONSE", answer.Models[1].ErrorCode)
}
