package postgres

import (
	"strings"
	"sync"

	"github.com/outhook/webhook/internal/id"
)

// endpointRef is what never changes of an endpoint, and what only changes with the generation.
type endpointRef struct {
	num     int64
	id      string
	enabled bool
	ordered bool
}

// endpoints remembers endpoints of one generation.
type endpoints struct {
	mu         sync.Mutex
	generation int64
	byID       map[string]*endpointRef
}

// maxEndpoints bounds what is remembered; beyond it all is forgotten and learned anew.
const maxEndpoints = 1 << 17

func newEndpoints() *endpoints { return &endpoints{byID: map[string]*endpointRef{}} }

func (e *endpoints) get(generation int64, endpointID string) *endpointRef {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.generation != generation {
		return nil
	}
	return e.byID[endpointID]
}

// num is an endpoint's number, of whatever generation: it never changes.
func (e *endpoints) num(endpointID string) (int64, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ref := e.byID[endpointID]
	if ref == nil {
		return 0, false
	}
	return ref.num, true
}

func (e *endpoints) put(generation int64, ref *endpointRef) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.generation > generation {
		return
	}
	if e.generation < generation || len(e.byID) > maxEndpoints {
		clear(e.byID)
		e.generation = generation
	}
	e.byID[ref.id] = ref
}

// endpoint finds an endpoint by its ID, deleted ones too; nil if there is none.
func (q *session) endpoint(generation int64, endpointID string) (*endpointRef, error) {
	if ref := q.s.eps.get(generation, endpointID); ref != nil {
		return ref, nil
	}
	key, rest, ok := id.Split(id.Endpoint, endpointID)
	if !ok {
		return nil, nil
	}
	ref := &endpointRef{id: strings.Clone(endpointID)}
	var state int64
	found, err := q.one(`SELECT num, state, ordered FROM webhook.endpoint WHERE key = $1 AND rest = $2`,
		[]any{key, rest}, &ref.num, &state, &ref.ordered)
	if err != nil || !found {
		return nil, err
	}
	ref.enabled = state == 0
	// Within a user's transaction it may be new and yet vanish; and a bound store is short-lived. A later
	// generation may have been committed since that one was read, and then the next look reads it again.
	q.s.eps.put(generation, ref)
	return ref, nil
}
