package webhook

import (
	"context"
	"net/http"
	"strings"
)

// BasicAuth is the [Authenticator] of HTTP basic authentication. It takes the settings "username" and
// "password" of the endpoint's Auth.
type BasicAuth struct{}

// Authorize sets the Authorization header.
func (b BasicAuth) Authorize(_ context.Context, r *http.Request, e Endpoint) error {
	if err := b.Validate(e); err != nil {
		return err
	}
	r.SetBasicAuth(e.Auth.Settings["username"], e.Auth.Settings["password"])
	return nil
}

// Validate checks the settings of an endpoint. The error is an [ErrInvalid].
func (BasicAuth) Validate(e Endpoint) error {
	if e.Auth == nil {
		return invalid("Endpoint.Auth", "is missing")
	}
	username := e.Auth.Settings["username"]
	if username == "" || strings.Contains(username, ":") {
		return invalid("Endpoint.Auth.Settings[username]", "must be given, without a colon")
	}
	for name := range e.Auth.Settings {
		if name != "username" && name != "password" {
			return invalid("Endpoint.Auth.Settings", "has %q: basic authentication takes username and password", name)
		}
	}
	return nil
}
