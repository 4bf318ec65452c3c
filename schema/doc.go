// Package schema shows the library's records in four published shapes, for programs and people that
// already know one of them:
//
//   - [InvocationAttempt], [DeliveryAttempt] and [EventAttempt] show a [webhook.DeliveryAttempt];
//   - [DeliveryListItem] shows a [webhook.DeliveryListItem].
//
// Encode a shape with encoding/json and it has exactly the keys, types and values of its document.
// Nothing is stored for the sake of a shape, and some of a record is lost in each: keep the record,
// show the shape. A shape shares the record's maps and pointers; change neither.
//
// # Which field comes from where
//
// Required fields always stand there; "null" or "absent" says what becomes of one without a value.
//
// InvocationAttempt, all optional:
//
//	id                 ID
//	invocation_id      DeliveryID
//	status             Status: success or failed
//	response_code      StatusCode; absent without a response
//	response_body      ResponseBodyPreview; absent without a response, or pruned
//	response_headers   ResponseHeaders; likewise
//	error_message      Error, or "HTTP 500" if a response was the failure; absent on success
//	created_at         StartedAt
//	duration_ms        DurationMS
//
// DeliveryAttempt, all required:
//
//	id                    ID
//	workspaceId           TenantID
//	deliveryId            DeliveryID
//	attemptNumber         AttemptNumber
//	kind                  Trigger: initial, auto_retry or manual_retry
//	url                   URL
//	statusCode            StatusCode; null without a response
//	error                 Error; null with a response
//	durationMs            DurationMS
//	responseHeaders       ResponseHeaders; null without a response, or pruned
//	responseBodyPreview   ResponseBodyPreview; likewise
//	startedAt             StartedAt
//	completedAt           CompletedAt
//
// DeliveryListItem, required down to webhookEndpointId:
//
//	attemptCount                 AttemptCount
//	createdAt                    CreatedAt
//	eventId                      EventID
//	eventType                    EventType
//	id                           ID
//	status                       Status: pending, success or failed
//	updatedAt                    UpdatedAt
//	webhookEndpointId            EndpointID
//	envelopeKey                  Attributes["envelopeKey"]; absent without one
//	lastAttempt                  LastAttempt; absent before the first attempt
//	lastAttempt.attemptedAt      when it started
//	lastAttempt.errorMessage     why no response came; absent if one did
//	lastAttempt.responseStatus   absent if no response came
//	nextRetryAt                  NextRetryAt; absent unless the rule below holds
//	participantEmail             Attributes["participantEmail"]; absent without one
//	stepKey                      Attributes["stepKey"]; absent without one
//	workflowId                   Attributes["workflowId"]; absent unless it is wf_ and 26 of [0-9a-z]
//
// EventAttempt; required are id, team_id, event_id, destination_id, status, updated_at and created_at:
//
//	id                 ID
//	team_id            TenantID
//	event_id           EventID
//	destination_id     EndpointID
//	response_status    StatusCode; absent without a response
//	attempt_number     AttemptNumber
//	trigger            Trigger in upper case
//	error_code         ErrorCode, mapped as below; absent on success
//	body               ResponseBodyPreview as object or string; absent without a response, or pruned
//	requested_url      URL; absent if there was none
//	http_method        Method
//	bulk_retry_id      BulkRetryID; absent if none
//	status             Status: SUCCESSFUL or FAILED
//	successful_at      CompletedAt; absent unless it succeeded
//	delivered_at       DeliveredAt; absent if the request was not written
//	responded_at       RespondedAt; absent without a response
//	delivery_latency   DeliveredAt − StartedAt in whole milliseconds; absent as delivered_at is
//	response_latency   RespondedAt − StartedAt in whole milliseconds; absent as responded_at is
//	updated_at         UpdatedAt
//	created_at         CreatedAt
//
// # Where the documents disagree
//
// Status. Only a succeeded attempt is a success. Failed, interrupted and canceled ones are failed in
// the shapes that have no word for them; in EventAttempt the error code tells which it was.
//
// Kind. DeliveryAttempt knows three kinds, the record five triggers. Automatic and unpause become
// auto_retry, manual and bulk_retry become manual_retry. A delivery that was held before it ever ran
// is released by an unpause, but its attempt number 1 is no retry: initial.
//
// Error text. InvocationAttempt wants one for every failure and gets "HTTP 500" where the receiver
// answered. DeliveryAttempt and DeliveryListItem want one only where no response came.
//
// Error codes. EventAttempt knows 33. The library's own codes become the nearest of those:
//
//	ENDPOINT_GONE          BAD_RESPONSE
//	BLOCKED_ADDRESS        NETWORK_ERROR
//	PROXY_ERROR            NETWORK_ERROR
//	TLS_CERT_INVALID       SSL_ERROR_CA_UNKNOWN
//	TLS_HANDSHAKE_FAILED   PROTOCOL_ERROR
//	RESPONSE_TOO_LARGE     PROTOCOL_ERROR
//	ENDPOINT_DISABLED      CANCELLED
//	INTERRUPTED            UNKNOWN
//
// Null. EventAttempt marks fields as nullable, a word that JSON Schema 2020-12 does not know. It is
// never given a null; the field is left out, which is valid whichever way the word is read.
//
// Body. EventAttempt has an object where the whole body was kept, the response said application/json
// or a type ending in +json, and it is a JSON object. Else the body is the text of the preview.
//
// Times. All are RFC 3339 in UTC. created_at of InvocationAttempt is typed as a date, and is a
// date-time here. It is when the request began; in EventAttempt it is when the row was made.
//
// Attempt number. EventAttempt counts attempts "for the associated event"; here that is the event's
// delivery to one endpoint.
//
// Next retry. nextRetryAt stands only while the delivery is pending, is not held, and its last attempt
// failed.
//
// Event type. The document of DeliveryListItem lists the five types of one product; here every type
// passes. Its examples of IDs are a character short of its own patterns; the patterns hold.
package schema
