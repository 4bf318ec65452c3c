package webhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkAttempt is an attempt over a kept connection, and the same without any connection.
func BenchmarkAttempt(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	defer server.Close()
	for name, client := range map[string]HTTPClient{
		"client": newTestClient(b, ClientConfig{}),
		"none": clientFunc(func(r *http.Request) (*http.Response, error) {
			return answer(200, strings.NewReader("ok")), nil
		}),
	} {
		b.Run(name, func(b *testing.B) {
			s, c, t := newTestSender(client), testClaim(), newTarget(Endpoint{URL: server.URL})
			b.ReportAllocs()
			for b.Loop() {
				if a := s.attempt(b.Context(), c, t); a.Status != AttemptSucceeded {
					b.Fatal(a.Error)
				}
			}
		})
	}
}
