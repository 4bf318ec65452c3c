// Package webhooktest helps to test what sends webhooks.
//
// [NewReceiver] starts a real server on loopback that verifies every signature and answers as
// scripted:
//
//	r := webhooktest.NewReceiver(t)
//	r.Script(500, 503) // then 200
//	// create r.Endpoint(), send an event
//	first, second := r.Next(t), r.Next(t)
//
// [Client] stands in for Config.HTTPClient without sockets and goroutines, for tests inside
// testing/synctest, where hours of retries take no time.
package webhooktest
