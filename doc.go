// Package webhook sends webhooks from inside your service: every event is stored before it is sent,
// delivered at least once to every endpoint that wants it, and every attempt is on record.
//
//	store, err := sqlite.Open("webhooks.db")
//	d, err := webhook.New(store, webhook.Config{})
//	go d.Run(ctx)
//	endpoint, err := d.CreateEndpoint(ctx, webhook.Endpoint{URL: "https://example.com/hooks"})
//	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: payload})
//
// An [Event] is something that happened. An [Endpoint] is a customer's URL. The way of one event to one
// endpoint is a [Delivery], and each request on that way is a [DeliveryAttempt]. A tenant is one of your
// customers: events reach endpoints of the same TenantID only.
//
// # Guarantees
//
// When [Dispatcher.Send] returns without an error, the event and one delivery for each endpoint that
// matches are stored; with the SQLite store they survive a power failure. On an error nothing is stored,
// unless the context ended or the store's connection broke: then it is unknown, and repeating Send with
// the same IdempotencyKey is safe.
//
// Delivery is at least once. A receiver gets an event again if its answer was lost or this process died
// before the result was stored. The header webhook-id is the event's ID on every attempt; receivers
// should remember it. An attempt that was cut off is recorded as interrupted when its delivery is
// claimed again: within a second or so with sqlite.Open, which sees that the process is dead; else when
// the lease has run out, after the longest timeout and 15 s.
//
// [Dispatcher.SendTx] stores an event in a transaction of yours. [Publish] sends a type that names its
// event type. The file docs/guarantees.md says what each promise costs.
//
// Order is not kept, unless [Endpoint] says Ordered: then each delivery waits until the one before is
// final.
//
// # Retries
//
// An attempt succeeds by a 2xx response within Config.AttemptTimeout. Redirects are not followed. All
// else is tried again by Config.Retry, or by the endpoint's own schedule, see [DefaultRetry], [Schedule],
// [Exponential] and [Jitter]. After 429, 502, 504 and timeouts the wait is at least a minute; a
// Retry-After only makes it longer, up to 24 hours. A 410 ends the delivery and disables the endpoint.
// Failures that the receiver has no part in, such as a shutdown, are not charged to it, ten in a row at
// most.
//
// [Dispatcher.Retry] makes a delivery due now, also one that has ended.
//
// # Signing
//
// Requests are signed by Standard Webhooks 1.0.0: HMAC-SHA256 with whsec_ secrets, ed25519 with whsk_
// keys, one signature for each live secret of the endpoint. [Verify] and [Verifier] are for receivers in Go.
// Config.Signer replaces the scheme. [Verifier.Middleware] lets only genuine requests through. The file
// docs/receivers.md is for receivers in other languages.
//
// # Telemetry
//
// An [Observer] is told what happens: package promwebhook counts it for Prometheus, package otelwebhook makes
// OpenTelemetry spans, with each attempt linked to the Send that caused it. [Dispatcher.Health] is for
// readiness probes, [Dispatcher.Stats] for pages, Config.Logger for logs. [Operational] sends webhooks
// about endpoints that fail and deliveries that are given up.
//
// # Security
//
// Endpoint URLs come from strangers. The default [Client] dials public addresses only, checked after
// DNS at every connection; Endpoint.AllowPrivate makes exceptions, and an HTTPClient of your own
// bypasses the guard unless you put a [Guard] under it. Secrets are masked by fmt, slog and JSON. In the
// store they lie open unless Config.Sealer seals them, see [NewAESSealer]. The file docs/security.md says
// what else is guarded, and what is not.
//
// # Testing
//
// Package webhooktest has a receiver on loopback that verifies signatures and fails as told, a
// dispatcher that runs until the test ends, and a scripted client for testing/synctest. Package
// store/memory is a store without a file.
//
// # Shutdown
//
// End the context of [Dispatcher.Run]. It begins no further attempt, gives those under way
// Config.DrainTimeout, interrupts the rest, stores all results and returns. Close the store after that.
// Send works as long as the store is open.
//
// # Upgrading
//
// Within a major version programs go on compiling, and a newer version opens what an older one stored,
// bringing its tables up to date in one transaction; an older version refuses a store that a newer one
// has changed, and leaves it as it is. Before v1 the API may change in minor versions, and
// CHANGELOG.md says how. What is sent (headers, signatures) and the JSON of records only gain.
package webhook
