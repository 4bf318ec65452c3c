// Package console is a web console for a [webhook.Dispatcher], for its operators and, if you like, for
// your customers: pages and a JSON API in one http.Handler.
//
//	mux.Handle("/webhooks/", http.StripPrefix("/webhooks", console.New(d, console.Config{
//		Authorize: func(r *http.Request) (console.Access, bool) {
//			user, ok := session(r)
//			return console.Access{AllTenants: true, Write: user.Operator}, ok
//		},
//	})))
//
// It answers 403 to everything until Config.Authorize says yes. What that returns bounds what a request
// can do: an [Access] with a TenantID sees nothing of other tenants, not even that they exist, so the
// same handler can serve a customer's own page.
//
// # Pages
//
// The pages work without JavaScript, load nothing from elsewhere and run under a content security policy
// without exceptions. What receivers answered is shown as text and never interpreted. Links are
// relative: the handler can be mounted anywhere, under a path that ends in a slash.
//
// # JSON API
//
//	GET  /webhook-deliveries                      the document WebhookDeliveryListItem; ?shape=delivery: all that is known
//	GET  /webhook-deliveries/{id}                 the same with payload and attempts
//	GET  /webhook-deliveries/{id}/attempts
//	POST /webhook-deliveries/{id}/retry, /cancel
//	GET  /webhook-attempts
//	GET  /webhook-events, /webhook-events/{id}
//	GET  /webhook-endpoints, /webhook-endpoints/{id}
//	POST /webhook-endpoints/{id}/pause, /unpause, /enable, /disable, /ping, /rotate-secret
//	GET  /webhook-stats
//	GET  /webhook-bulk-retries, /webhook-bulk-retries/{id}
//	POST /webhook-bulk-retries, /webhook-bulk-retries/{id}/cancel
//	GET  /openapi.json                            all of this in OpenAPI 3.1
//
// Attempts have the JSON of [webhook.DeliveryAttempt], or with ?shape=invocation-attempt,
// delivery-attempt or event-attempt one of the shapes of package schema. Lists are newest first, have
// "data" and "nextCursor", and continue with ?cursor=. Errors are application/problem+json (RFC 9457).
//
// Browsers send a user's cookies along with requests that other sites make them do. Such requests are
// refused by [http.CrossOriginProtection], and bodies other than application/json are too.
package console
