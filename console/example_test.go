package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/store/memory"
)

// Operators see everything; a customer who is logged in sees what is theirs.
func Example() {
	d, err := webhook.New(memory.New(), webhook.Config{})
	if err != nil {
		panic(err)
	}
	handler := console.New(d, console.Config{
		Authorize: func(r *http.Request) (console.Access, bool) {
			switch user := r.Header.Get("X-User"); user { // your session
			case "":
				return console.Access{}, false
			case "operator":
				return console.Access{AllTenants: true, Write: true}, true
			default:
				return console.Access{TenantID: user, Write: true}, true
			}
		},
	})
	mux := http.NewServeMux()
	mux.Handle("/webhooks/", http.StripPrefix("/webhooks", handler))

	for _, user := range []string{"", "acme"} {
		r := httptest.NewRequest("GET", "/webhooks/webhook-deliveries", nil)
		r.Header.Set("X-User", user)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 403 {"type":"about:blank","title":"Forbidden","status":403,"detail":"You may not see this."}
	// 200 {"data":[],"nextCursor":null}
}
