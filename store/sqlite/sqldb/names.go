package sqldb

import (
	"strings"
	"sync"

	"github.com/outhook/webhook/internal/id"
)

// names remembers rows of webhook_name. They never change and are never deleted, so what was once
// committed stays true.
type names struct {
	mu   sync.RWMutex
	nums map[string]int64
	text map[int64]string
}

// maxNames bounds what is remembered; beyond it all is forgotten and learned anew.
const maxNames = 1 << 16

func newNames() *names {
	return &names{nums: map[string]int64{}, text: map[int64]string{}}
}

func (n *names) num(text string) (int64, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	num, ok := n.nums[text]
	return num, ok
}

func (n *names) textOf(num int64) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	text, ok := n.text[num]
	return text, ok
}

func (n *names) add(fresh map[string]int64) {
	if len(fresh) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.nums) > maxNames {
		clear(n.nums)
		clear(n.text)
	}
	for text, num := range fresh {
		n.nums[text], n.text[num] = num, text
	}
}

// find returns the number of a name, 0 if it has none yet.
func (q *session) find(text string) (num int64, err error) {
	if num, ok := q.s.names.num(text); ok {
		return num, nil
	}
	if num, ok := q.fresh[text]; ok {
		return num, nil
	}
	num, err = q.int(`SELECT num FROM webhook_name WHERE text = ?`, text)
	if err == nil && num != 0 {
		q.learn(text, num)
	}
	return num, err
}

// intern returns the number of a name and gives it one if need be.
func (q *session) intern(text string) (int64, error) {
	num, err := q.find(text)
	if err != nil || num != 0 {
		return num, err
	}
	num, err = q.int(`INSERT INTO webhook_name (text) VALUES (?) RETURNING num`, strings.Clone(text))
	if err == nil {
		q.learn(text, num)
	}
	return num, err
}

// internOpt interns a name that may be missing: NULL then.
func (q *session) internOpt(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	return q.intern(text)
}

func (q *session) learn(text string, num int64) {
	if q.fresh == nil {
		q.fresh = map[string]int64{}
	}
	q.fresh[text] = num
}

// name is the inverse of intern; 0 is "".
func (q *session) name(num int64) (text string, err error) {
	if num == 0 {
		return "", nil
	}
	if text, ok := q.s.names.textOf(num); ok {
		return text, nil
	}
	for text, n := range q.fresh {
		if n == num {
			return text, nil
		}
	}
	_, err = q.one(func(r row) { text = r.str(0) }, `SELECT text FROM webhook_name WHERE num = ?`, num)
	if err == nil {
		q.learn(text, num)
	}
	return text, err
}

// endpointRef is what never changes of an endpoint, and what only changes with the generation.
type endpointRef struct {
	num, tenant int64
	id          string
	enabled     bool
	ordered     bool
}

// endpoints remembers endpoints of one generation.
type endpoints struct {
	mu         sync.Mutex
	generation int64
	byID       map[string]*endpointRef
}

const maxEndpoints = 1 << 17

func newEndpoints() *endpoints { return &endpoints{byID: map[string]*endpointRef{}} }

func (e *endpoints) get(generation int64, id string) *endpointRef {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.generation != generation {
		return nil
	}
	return e.byID[id]
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
	found, err := q.one(func(r row) {
		ref.num, ref.tenant, ref.enabled, ref.ordered = r.int(0), r.int(1), r.int(2) == 0, r.int(3) != 0
	}, `SELECT num, tenant, state, ordered FROM webhook_endpoint WHERE key = ? AND rest = ?`, key, rest)
	if err != nil || !found {
		return nil, err
	}
	// Within a user's transaction it may be new and yet vanish; and a bound store is short-lived.
	if !q.s.bound {
		q.s.eps.put(generation, ref)
	}
	return ref, nil
}
