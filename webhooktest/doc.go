// Package webhooktest helps to test what sends webhooks.
//
// [NewReceiver] starts a real server on loopback that verifies every signature and answers as
// scripted:
//
//	r := webhooktest.NewReceiver(t)
//	r.Script(500, 503) // then 200
//	d := webhooktest.New(t, webhook.Config{Retry: webhook.Schedule(time.Millisecond, time.Millisecond)})
//	d.CreateEndpoint(ctx, r.Endpoint())
//	d.Send(ctx, webhook.Event{Type: "order.created", Payload: payload})
//	requests := r.Wait(t, 3)
//
// [Client] stands in for Config.HTTPClient without sockets and goroutines, for tests inside
// testing/synctest, where hours of retries take no time.
package webhooktest
