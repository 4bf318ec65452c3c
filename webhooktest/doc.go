// Package webhooktest helps to test what sends webhooks. Three lines, around the code that is tested:
//
//	receiver := webhooktest.NewReceiver(t)                          // verifies every signature
//	d := webhooktest.New(t, webhook.Config{}, receiver.Endpoint())  // is running, until the test ends
//	placeOrder(d, 7)                                                // yours: it calls d.Send
//	receiver.Next(t).RequireJSON(t, `{"order":7}`)
//
// [NewReceiver] starts a real server on loopback. It fails the test on a bad signature, answers 200
// unless [Receiver.Script] and [Receiver.Answer] say otherwise (statuses, headers, bodies, delays, hangs,
// resets, bodies that dribble), and keeps what arrives:
//
//   - [Receiver.Next] and [Receiver.Wait] wait for the next and the nth request, [Receiver.Find] for one
//     that fits;
//   - [Receiver.Exactly] waits until nothing is due any more and counts: that nothing came is a test too;
//   - [Request.JSON] and [Request.RequireJSON] look at the body.
//
// Nothing sleeps. What is waited for and does not come fails the test after 10 s and says what did come.
//
// [Client] stands in for Config.HTTPClient without sockets and goroutines, for tests inside
// testing/synctest, where three days of retries take no time:
//
//	synctest.Test(t, func(t *testing.T) {
//		client := &webhooktest.Client{}
//		client.Script(500, 503) // then 200
//		d := webhooktest.New(t, webhook.Config{HTTPClient: client}, webhook.Endpoint{URL: "https://example.com/"})
//		placeOrder(d, 7)
//		client.Wait(t, 3) // five seconds and five minutes later
//	})
//
// To test a receiver of yours, sign a request with [webhook.Sign].
package webhooktest
