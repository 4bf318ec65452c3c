package webhook

import "time"

// Secret signs what is sent to an endpoint, until it expires.
type Secret struct {
	Value     string    // whsec_… or whsk_…
	ExpiresAt time.Time // zero: never
}
