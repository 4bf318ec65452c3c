// Package storetest is the contract of [webhook.Store] as tests. A store passes [Run] and [RunModel]:
//
//	func TestStore(t *testing.T) { storetest.Run(t, open) }
//	func TestModel(t *testing.T) { storetest.RunModel(t, open) }
//
// where open returns a new, empty store and has it closed by t.Cleanup. Closing twice must do no harm.
package storetest

import (
	"testing"

	"github.com/outhook/webhook"
)

// Run tests each rule of the contract on a store of its own.
func Run(t *testing.T, open func(t *testing.T) webhook.Store) {
	for _, group := range []struct {
		name  string
		rules []rule
	}{
		{"Send", sendRules},
		{"Replay", replayRules},
		{"Claim", claimRules},
		{"Early", earlyRules},
		{"Outcome", outcomeRules},
		{"Requeue", requeueRules},
		{"Endpoint", endpointRules},
		{"View", viewRules},
		{"Stats", statsRules},
		{"Retention", retentionRules},
		{"BulkRetry", bulkRules},
		{"Call", callRules},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, r := range group.rules {
				t.Run(r.name, func(t *testing.T) {
					s := open(t)
					r.check(newWorld(t.Context(), t, s))
					if !r.unusable {
						CheckInvariants(t, s)
					}
				})
			}
		})
	}
}

// rule is one subtest. Its name is what a store must do.
type rule struct {
	name     string
	check    func(w *world)
	unusable bool // the store is closed afterwards
}
