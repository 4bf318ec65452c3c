package webhook

import (
	"encoding/json"
	"time"
)

// DeliveryAttempt is the record of one HTTP request, or of one that was meant and could not be made.
// Times are UTC and whole microseconds. In JSON what is known to be absent is null.
type DeliveryAttempt struct {
	ID         string // wa_…
	TenantID   string
	EventID    string
	EventType  string
	DeliveryID string
	EndpointID string
	// AttemptNumber counts from 1 over all triggers of the delivery and is never reset.
	AttemptNumber int
	Trigger       Trigger
	BulkRetryID   string // "" if none
	Status        AttemptStatus
	Method        string
	URL           string // of this attempt; user information removed
	// RequestHeaders has the values of headers that the library sets itself; all others are
	// "[redacted]". Nil if no request was made, or pruned.
	RequestHeaders map[string]string
	RemoteAddr     string // ip:port that was dialled; "" if none was
	StatusCode     *int   // nil when no status line was read; never 0
	// ResponseHeaders has repeated values joined by ", ", without Set-Cookie. Nil if there was no
	// response, or pruned.
	ResponseHeaders map[string]string
	// ResponseBodyPreview is the beginning of the body as valid UTF-8 without NUL, 2,048 bytes unless
	// Config.PreviewBytes says otherwise. Nil if there was no response, or pruned.
	ResponseBodyPreview   *string
	ResponseBodyTruncated bool
	ErrorCode             ErrorCode // "" on success
	Error                 string    // text whenever there was no status line; else ""
	StartedAt             time.Time // request initiated
	// DeliveredAt is when the request had been written to the socket: from then on it may have been
	// processed.
	DeliveredAt    *time.Time
	RespondedAt    *time.Time // status line and headers received
	CompletedAt    time.Time  // preview read, or error seen
	DurationMS     int64      // CompletedAt − StartedAt on the monotonic clock, milliseconds
	Timings        *Timings
	Resends        int        // immediate re-sends after a stale kept-alive connection
	RetryAfterMS   *int64     // the receiver's hint, milliseconds
	NextAttemptAt  *time.Time // decided after this attempt
	CreatedAt      time.Time  // of the row
	UpdatedAt      time.Time
	DetailPrunedAt *time.Time // retention took headers and preview
}

// Timings are the phases of a request, in milliseconds. A phase that did not happen, such as dialling
// on a reused connection, is 0.
type Timings struct {
	DNSMS     float64 `json:"dnsMs"`
	ConnectMS float64 `json:"connectMs"`
	TLSMS     float64 `json:"tlsMs"`
	TTFBMS    float64 `json:"ttfbMs"` // from the written request to the first byte of the response
}

// AttemptStatus says how an attempt ended.
type AttemptStatus string

const (
	AttemptSucceeded AttemptStatus = "succeeded" // a 2xx response was received
	AttemptFailed    AttemptStatus = "failed"    // another response, or none: see its ErrorCode
	// AttemptInterrupted means: the process died, lost its lease or shut down; the request may have been sent.
	AttemptInterrupted AttemptStatus = "interrupted"
	AttemptCanceled    AttemptStatus = "canceled" // declared; the library gives it to none so far
)

// Trigger says why an attempt was made.
type Trigger string

const (
	TriggerInitial   Trigger = "initial"    // the first of a delivery
	TriggerAutomatic Trigger = "automatic"  // a retry by the policy
	TriggerManual    Trigger = "manual"     // Retry was called
	TriggerBulkRetry Trigger = "bulk_retry" // BulkRetry was called
	// TriggerUnpause means: it was due while its endpoint was paused or disabled.
	TriggerUnpause Trigger = "unpause"
)

// ErrorCode says in one word why an attempt or a delivery failed. The empty code is success.
type ErrorCode string

// The codes that the library gives.
const (
	CodeMissingURL             ErrorCode = "MISSING_URL" // also: the endpoint was deleted
	CodeInvalidURL             ErrorCode = "INVALID_URL"
	CodeInvalidCharacter       ErrorCode = "INVALID_CHARACTER" // in a header
	CodePayloadMissing         ErrorCode = "PAYLOAD_MISSING"
	CodeDataArchived           ErrorCode = "DATA_ARCHIVED"            // payload erased
	CodeCancelledPastRetention ErrorCode = "CANCELLED_PAST_RETENTION" // expired while pending
	CodeCancelled              ErrorCode = "CANCELLED"
	CodeBulkRetryCancelled     ErrorCode = "BULK_RETRY_CANCELLED"
	CodeEndpointGone           ErrorCode = "ENDPOINT_GONE"           // 410
	CodeEndpointDisabled       ErrorCode = "ENDPOINT_DISABLED"       // canceled because of it
	CodeBadResponse            ErrorCode = "BAD_RESPONSE"            // a status line that is not 2xx
	CodeOAuth2HandshakeFailed  ErrorCode = "OAUTH2_HANDSHAKE_FAILED" // the endpoint's Authenticator failed
	CodeBlockedAddress         ErrorCode = "BLOCKED_ADDRESS"         // refused by the address guard
	CodeNetworkRequestCanceled ErrorCode = "NETWORK_REQUEST_CANCELED"
	CodeTimeout                ErrorCode = "TIMEOUT"
	CodeTooManyRedirects       ErrorCode = "TOO_MANY_REDIRECTS"
	CodeProxyError             ErrorCode = "PROXY_ERROR"
	CodeNotFound               ErrorCode = "NOT_FOUND" // no such host
	CodeDNSLookupFailed        ErrorCode = "DNS_LOOKUP_FAILED"
	CodeSelfSignedCert         ErrorCode = "SELF_SIGNED_CERT"
	CodeUnableToGetIssuerCert  ErrorCode = "UNABLE_TO_GET_ISSUER_CERT"
	CodeSSLErrorCAUnknown      ErrorCode = "SSL_ERROR_CA_UNKNOWN"
	CodeCertAltnameInvalid     ErrorCode = "ERR_TLS_CERT_ALTNAME_INVALID"
	CodeSSLCertExpired         ErrorCode = "SSL_CERT_EXPIRED" // or not yet valid
	CodeTLSCertInvalid         ErrorCode = "TLS_CERT_INVALID"
	CodeSSLWrongVersionNumber  ErrorCode = "ERR_SSL_WRONG_VERSION_NUMBER"
	CodeTLSHandshakeFailed     ErrorCode = "TLS_HANDSHAKE_FAILED"
	CodeConnectionRefused      ErrorCode = "CONNECTION_REFUSED"
	CodeConnectionReset        ErrorCode = "CONNECTION_RESET"
	CodeNetworkUnreachable     ErrorCode = "NETWORK_UNREACHABLE"
	CodeHostUnreachable        ErrorCode = "HOST_UNREACHABLE"
	CodeSocketClosed           ErrorCode = "SOCKET_CLOSED"
	CodeResponseTooLarge       ErrorCode = "RESPONSE_TOO_LARGE" // response headers over the limit
	CodeZDataError             ErrorCode = "Z_DATA_ERROR"       // declared, never given
	CodeProtocolError          ErrorCode = "PROTOCOL_ERROR"
	CodeNetworkError           ErrorCode = "NETWORK_ERROR"
	CodeInternalError          ErrorCode = "INTERNAL_ERROR" // a panic or fault on our side
	CodeInterrupted            ErrorCode = "INTERRUPTED"    // the process died or lost its lease
	CodeUnknown                ErrorCode = "UNKNOWN"
	CodeCLI                    ErrorCode = "CLI"             // declared, never given
	CodeCLIUnavailable         ErrorCode = "CLI_UNAVAILABLE" // declared, never given
)

// ErrorCodes returns every declared code.
func ErrorCodes() []ErrorCode {
	return []ErrorCode{
		CodeMissingURL, CodeInvalidURL, CodeInvalidCharacter, CodePayloadMissing, CodeDataArchived,
		CodeCancelledPastRetention, CodeCancelled, CodeBulkRetryCancelled, CodeEndpointGone,
		CodeEndpointDisabled, CodeBadResponse, CodeOAuth2HandshakeFailed, CodeBlockedAddress,
		CodeNetworkRequestCanceled, CodeTimeout, CodeTooManyRedirects, CodeProxyError, CodeNotFound,
		CodeDNSLookupFailed, CodeSelfSignedCert, CodeUnableToGetIssuerCert, CodeSSLErrorCAUnknown,
		CodeCertAltnameInvalid, CodeSSLCertExpired, CodeTLSCertInvalid, CodeSSLWrongVersionNumber,
		CodeTLSHandshakeFailed, CodeConnectionRefused, CodeConnectionReset, CodeNetworkUnreachable,
		CodeHostUnreachable, CodeSocketClosed, CodeResponseTooLarge, CodeZDataError, CodeProtocolError,
		CodeNetworkError, CodeInternalError, CodeInterrupted, CodeUnknown, CodeCLI, CodeCLIUnavailable,
	}
}

// InterruptedError is the Error of an attempt whose lease ran out.
const InterruptedError = "process died or lost its lease; the request may have been sent"

// attemptJSON is the wire form of a DeliveryAttempt: every key, null where absent.
type attemptJSON struct {
	ID                    string            `json:"id"`
	TenantID              string            `json:"tenantId"`
	EventID               string            `json:"eventId"`
	EventType             string            `json:"eventType"`
	DeliveryID            string            `json:"deliveryId"`
	EndpointID            string            `json:"endpointId"`
	AttemptNumber         int               `json:"attemptNumber"`
	Trigger               Trigger           `json:"trigger"`
	BulkRetryID           *string           `json:"bulkRetryId"`
	Status                AttemptStatus     `json:"status"`
	Method                string            `json:"httpMethod"`
	URL                   string            `json:"url"`
	RequestHeaders        map[string]string `json:"requestHeaders"`
	RemoteAddr            *string           `json:"remoteAddr"`
	StatusCode            *int              `json:"statusCode"`
	ResponseHeaders       map[string]string `json:"responseHeaders"`
	ResponseBodyPreview   *string           `json:"responseBodyPreview"`
	ResponseBodyTruncated bool              `json:"responseBodyTruncated"`
	ErrorCode             *ErrorCode        `json:"errorCode"`
	Error                 *string           `json:"error"`
	StartedAt             time.Time         `json:"startedAt"`
	DeliveredAt           *time.Time        `json:"deliveredAt"`
	RespondedAt           *time.Time        `json:"respondedAt"`
	CompletedAt           time.Time         `json:"completedAt"`
	DurationMS            int64             `json:"durationMs"`
	Timings               *Timings          `json:"timings"`
	Resends               int               `json:"resends"`
	RetryAfterMS          *int64            `json:"retryAfterMs"`
	NextAttemptAt         *time.Time        `json:"nextAttemptAt"`
	CreatedAt             time.Time         `json:"createdAt"`
	UpdatedAt             time.Time         `json:"updatedAt"`
	DetailPrunedAt        *time.Time        `json:"detailPrunedAt"`
}

// MarshalJSON writes every field, null where it is absent.
func (a DeliveryAttempt) MarshalJSON() ([]byte, error) {
	return json.Marshal(attemptJSON{
		ID: a.ID, TenantID: a.TenantID, EventID: a.EventID, EventType: a.EventType,
		DeliveryID: a.DeliveryID, EndpointID: a.EndpointID, AttemptNumber: a.AttemptNumber,
		Trigger: a.Trigger, BulkRetryID: orNull(a.BulkRetryID), Status: a.Status,
		Method: a.Method, URL: a.URL, RequestHeaders: a.RequestHeaders,
		RemoteAddr: orNull(a.RemoteAddr), StatusCode: a.StatusCode,
		ResponseHeaders: a.ResponseHeaders, ResponseBodyPreview: a.ResponseBodyPreview,
		ResponseBodyTruncated: a.ResponseBodyTruncated,
		ErrorCode:             orNull(a.ErrorCode), Error: orNull(a.Error),
		StartedAt: a.StartedAt, DeliveredAt: a.DeliveredAt, RespondedAt: a.RespondedAt,
		CompletedAt: a.CompletedAt, DurationMS: a.DurationMS, Timings: a.Timings,
		Resends: a.Resends, RetryAfterMS: a.RetryAfterMS, NextAttemptAt: a.NextAttemptAt,
		CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, DetailPrunedAt: a.DetailPrunedAt,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (a *DeliveryAttempt) UnmarshalJSON(data []byte) error {
	var j attemptJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*a = DeliveryAttempt{
		ID: j.ID, TenantID: j.TenantID, EventID: j.EventID, EventType: j.EventType,
		DeliveryID: j.DeliveryID, EndpointID: j.EndpointID, AttemptNumber: j.AttemptNumber,
		Trigger: j.Trigger, BulkRetryID: orZero(j.BulkRetryID), Status: j.Status,
		Method: j.Method, URL: j.URL, RequestHeaders: j.RequestHeaders,
		RemoteAddr: orZero(j.RemoteAddr), StatusCode: j.StatusCode,
		ResponseHeaders: j.ResponseHeaders, ResponseBodyPreview: j.ResponseBodyPreview,
		ResponseBodyTruncated: j.ResponseBodyTruncated,
		ErrorCode:             orZero(j.ErrorCode), Error: orZero(j.Error),
		StartedAt: j.StartedAt, DeliveredAt: j.DeliveredAt, RespondedAt: j.RespondedAt,
		CompletedAt: j.CompletedAt, DurationMS: j.DurationMS, Timings: j.Timings,
		Resends: j.Resends, RetryAfterMS: j.RetryAfterMS, NextAttemptAt: j.NextAttemptAt,
		CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt, DetailPrunedAt: j.DetailPrunedAt,
	}
	return nil
}

// orNull turns the zero value into a null of JSON.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
