package webhook

import (
	"crypto/tls"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook/internal/id"
)

// The limits of what callers give. Where a limit is a user's business it stands in the public docs.
const (
	maxName         = 255 // bytes of a tenant ID, an idempotency key
	maxType         = 128
	maxEventTypes   = 1000
	maxAttributes   = 32
	maxAttributeKey = 64
	maxAttribute    = 512
	maxHeaders      = 64
	maxHeaderBytes  = 16 << 10
	maxMetadata     = 64
	maxText         = 4096 // bytes of a description, a metadata value
	maxTimeout      = 5 * time.Minute
	maxWaits        = 100
	maxTargets      = 1000
	maxDelay        = 366 * 24 * time.Hour
	maxConcurrency  = 65536
)

func (d *Dispatcher) validateEvent(field string, e *Event, now time.Time) error {
	if e.Payload == nil {
		return invalid(field+".Payload", "is nil; an empty payload is []byte{}")
	}
	if len(e.Payload) > d.cfg.MaxPayload {
		return &FieldError{Field: field + ".Payload", kind: ErrPayloadTooLarge,
			Message: fmt.Sprintf("has %d bytes, more than Config.MaxPayload, %d", len(e.Payload), d.cfg.MaxPayload)}
	}
	if problem := typeProblem(e.Type); problem != "" {
		return invalid(field+".Type", "%s", problem)
	}
	if e.ID != "" {
		return invalid(field+".ID", "is assigned by Send; leave it empty")
	}
	if !validHeaderValue(e.ContentType) || len(e.ContentType) > maxName {
		return invalid(field+".ContentType", "is not a header value of at most %d bytes", maxName)
	}
	if len(e.TraceContext) > maxName || !validHeaderValue(e.TraceContext) {
		return invalid(field+".TraceContext", "is not a traceparent")
	}
	if len(e.EndpointIDs) > maxTargets {
		return invalid(field+".EndpointIDs", "has more than %d entries", maxTargets)
	}
	if err := validateTimes(field, e, now); err != nil {
		return err
	}
	return firstError(
		validateName(field+".TenantID", e.TenantID),
		validateName(field+".IdempotencyKey", e.IdempotencyKey),
		validateAttributes(field+".Attributes", e.Attributes),
		validateHeaders(field+".Headers", e.Headers),
		d.checkCatalog(field, e),
	)
}

func (d *Dispatcher) checkCatalog(field string, e *Event) error {
	if d.cfg.Catalog == nil || e.Type == PingType || isOperational(e.Type) {
		return nil
	}
	if err := d.cfg.Catalog.Check(*e); err != nil {
		return invalid(field, "is not as the catalogue says: %v", err)
	}
	return nil
}

func validateTimes(field string, e *Event, now time.Time) error {
	if e.DeliverAt.After(now.Add(maxDelay)) {
		return invalid(field+".DeliverAt", "is more than a year ahead")
	}
	if e.ExpiresAt.IsZero() {
		return nil
	}
	if !e.ExpiresAt.After(now) || !e.ExpiresAt.After(e.DeliverAt) {
		return invalid(field+".ExpiresAt", "is not after now and DeliverAt")
	}
	if e.ExpiresAt.After(now.Add(10 * maxDelay)) {
		return invalid(field+".ExpiresAt", "is more than ten years ahead; zero means never")
	}
	return nil
}

// typeProblem says what is wrong with an event type, or "".
func typeProblem(t string) string {
	if t == "" {
		return "is empty"
	}
	if len(t) > maxType {
		return fmt.Sprintf("is longer than %d bytes", maxType)
	}
	for part := range strings.SplitSeq(t, ".") {
		if part == "" {
			return "begins or ends with a dot, or has two in a row"
		}
	}
	for i := range len(t) {
		if c := t[i]; !isAlnum(c) && c != '.' && c != '_' && c != '-' {
			return `has a character other than letters, digits, ".", "_" and "-"`
		}
	}
	return ""
}

// validateEndpoint also puts defaults in.
func (d *Dispatcher) validateEndpoint(e *Endpoint) error {
	if e.Method == "" {
		e.Method = "POST"
	}
	if !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, e.Method) {
		return invalid("Endpoint.Method", "is not one of GET, POST, PUT, PATCH, DELETE")
	}
	for i, p := range e.AllowPrivate {
		if !p.IsValid() {
			return invalid(fmt.Sprintf("Endpoint.AllowPrivate[%d]", i), "is not a prefix")
		}
	}
	if e.URL == "" {
		return invalid("Endpoint.URL", "is empty")
	}
	if _, err := validateURL(e.URL, e.AllowPrivate, d.guard()); err != nil {
		return err
	}
	if len(e.Description) > maxText || !storable(e.Description) {
		return invalid("Endpoint.Description", "is not UTF-8 of at most %d bytes without NUL", maxText)
	}
	return firstError(
		validateName("Endpoint.TenantID", e.TenantID),
		validatePatterns(e.EventTypes),
		validateAttributes("Endpoint.Match", e.Match),
		validateHeaders("Endpoint.Headers", e.Headers),
		validateMetadata(e.Metadata),
		validateFlow(e),
		d.validateCredentials(e),
	)
}

func validatePatterns(types []string) error {
	if len(types) > maxEventTypes {
		return invalid("Endpoint.EventTypes", "has more than %d entries", maxEventTypes)
	}
	for i, t := range types {
		if t == "*" {
			continue
		}
		if problem := typeProblem(strings.TrimSuffix(t, ".*")); problem != "" {
			return invalid(fmt.Sprintf("Endpoint.EventTypes[%d]", i), `%s; it is an event type, a prefix with ".*", or "*"`, problem)
		}
	}
	return nil
}

func validateFlow(e *Endpoint) error {
	if e.RateLimit < 0 || math.IsNaN(e.RateLimit) || e.RateLimit > 1e6 {
		return invalid("Endpoint.RateLimit", "is not between 0 and 1,000,000 a second")
	}
	if e.RateLimit > 0 && e.RateLimit < 1.0/3600 {
		return invalid("Endpoint.RateLimit", "is less than one an hour; pause the endpoint instead")
	}
	if e.MaxInFlight < 0 || e.MaxInFlight > maxConcurrency {
		return invalid("Endpoint.MaxInFlight", "is not between 0 and %d", maxConcurrency)
	}
	if e.Timeout < 0 || e.Timeout > maxTimeout || e.Timeout > 0 && e.Timeout < time.Millisecond {
		return invalid("Endpoint.Timeout", "is not between 1 ms and %v, nor 0 for Config.AttemptTimeout", maxTimeout)
	}
	if len(e.Retry) > maxWaits {
		return invalid("Endpoint.Retry", "has more than %d waits", maxWaits)
	}
	for i, wait := range e.Retry {
		if wait < 0 || wait > maxRetryWait {
			return invalid(fmt.Sprintf("Endpoint.Retry[%d]", i), "is not between 0 and a year")
		}
	}
	return nil
}

func (d *Dispatcher) validateCredentials(e *Endpoint) error {
	check := validateSecrets
	if _, standard := d.cfg.Signer.(*standardSigner); !standard {
		check = validateForeignSecrets
	}
	if err := check(e.Secrets); err != nil {
		return err
	}
	if err := d.validateAuth(e); err != nil {
		return err
	}
	if e.ClientCert != nil {
		if _, err := tls.X509KeyPair([]byte(e.ClientCert.Cert), []byte(e.ClientCert.Key)); err != nil {
			return invalid("Endpoint.ClientCert", "is not a certificate and its key in PEM")
		}
	}
	return nil
}

func (d *Dispatcher) validateAuth(e *Endpoint) error {
	if e.Auth == nil {
		return nil
	}
	authenticator := d.cfg.Authenticators[e.Auth.Kind]
	if authenticator == nil {
		return invalid("Endpoint.Auth.Kind", "is not one of Config.Authenticators")
	}
	for name, value := range e.Auth.Settings {
		if value == maskedValue {
			return invalid("Endpoint.Auth.Settings["+name+"]", "is masked: give the value, or leave the settings as they were")
		}
	}
	if v, ok := authenticator.(interface{ Validate(Endpoint) error }); ok {
		return v.Validate(*e)
	}
	return nil
}

func validateName(field, s string) error {
	if len(s) > maxName {
		return invalid(field, "is longer than %d bytes", maxName)
	}
	if !storable(s) {
		return invalid(field, "is not UTF-8, or has a NUL")
	}
	return nil
}

func validateAttributes(field string, m map[string]string) error {
	return validateMap(field, m, maxAttributes, maxAttribute)
}

func validateMetadata(m map[string]string) error {
	return validateMap("Endpoint.Metadata", m, maxMetadata, maxText)
}

func validateMap(field string, m map[string]string, entries, bytes int) error {
	if len(m) > entries {
		return invalid(field, "has more than %d entries", entries)
	}
	for key, value := range m {
		if key == "" || len(key) > maxAttributeKey || !storable(key) {
			return invalid(field, "has a key that is not 1 to %d bytes of UTF-8 without NUL", maxAttributeKey)
		}
		if len(value) > bytes || !storable(value) {
			return invalid(field+"["+key+"]", "is not UTF-8 of at most %d bytes without NUL", bytes)
		}
	}
	return nil
}

func validateHeaders(field string, m map[string]string) error {
	if len(m) > maxHeaders {
		return invalid(field, "has more than %d entries", maxHeaders)
	}
	size := 0
	for name, value := range m {
		if !validHeaderName(name) {
			return invalid(field, "has a name that no header can have")
		}
		if reservedHeader(name) || strings.EqualFold(name, "Content-Type") {
			return invalid(field+"["+name+"]", "is reserved: the library sets it, or it belongs to the connection")
		}
		if !validHeaderValue(value) {
			return invalid(field+"["+name+"]", "has a line break or control character in its value")
		}
		if value == maskedValue {
			return invalid(field+"["+name+"]", "is masked: give the value, or leave the header out")
		}
		size += len(name) + len(value) + 4
	}
	if size > maxHeaderBytes {
		return invalid(field, "has more than %d bytes in all", maxHeaderBytes)
	}
	return nil
}

// storable reports what every store can keep.
func storable(s string) bool {
	return utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

// validatePage checks what all queries have in common and puts the default limit in.
func validatePage(prefix, after string, limit *int) error {
	if after != "" && !id.Valid(prefix, after) {
		return invalid("After", "is not an ID that a list returned")
	}
	if *limit < 0 {
		return invalid("Limit", "is negative")
	}
	if *limit == 0 {
		*limit = 50
	}
	*limit = min(*limit, 500)
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
