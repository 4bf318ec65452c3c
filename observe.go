package webhook

import "context"

// Observer is told what happens to deliveries and endpoints, for metrics and alarms. Calls come from
// the goroutines that deliver: be quick. It must be safe for concurrent use.
type Observer interface {
	Observe(ctx context.Context, n Notice)
}

// NoticeKind says what a Notice is about.
type NoticeKind string

const (
	NoticeSent             NoticeKind = "event.sent"         // Event, Receipt
	NoticeAttempt          NoticeKind = "attempt.completed"  // Delivery, Attempt, Endpoint
	NoticeInterrupted      NoticeKind = "attempt.recovered"  // Attempt: found by a later claim
	NoticeExhausted        NoticeKind = "delivery.exhausted" // Delivery, Attempt, Endpoint
	NoticeEndpointFailing  NoticeKind = "endpoint.failing"
	NoticeEndpointRecover  NoticeKind = "endpoint.recovered"
	NoticeEndpointDisabled NoticeKind = "endpoint.disabled"
	NoticeStoreFailing     NoticeKind = "store.failing" // Err
	NoticeStoreRecovered   NoticeKind = "store.recovered"
)

// Notice is one thing that happened. Fields that do not belong to its kind are nil.
type Notice struct {
	Kind     NoticeKind
	Event    *Event // without payload
	Receipt  *Receipt
	Delivery *DeliveryListItem // as far as the sender knows it: no counts of others' making
	Attempt  *DeliveryAttempt
	Endpoint *Endpoint
	Err      error
}
