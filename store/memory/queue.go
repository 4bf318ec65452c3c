package memory

// queue is a heap that knows where each of its items stands, so that any can be moved or removed in
// O(log n).
type queue[T any] struct {
	items  []T
	before func(a, b T) bool
	place  func(item T) *int // where the item keeps its place, from 1; 0: not in the queue
}

func (q *queue[T]) len() int { return len(q.items) }

func (q *queue[T]) first() T { return q.items[0] }

// put adds an item, or moves it to where it belongs now.
func (q *queue[T]) put(item T) {
	p := q.place(item)
	if *p == 0 {
		q.items = append(q.items, item)
		*p = len(q.items)
	}
	if i := *p - 1; !q.up(i) {
		q.down(i)
	}
}

// remove takes an item out, if it is in.
func (q *queue[T]) remove(item T) {
	p := q.place(item)
	if *p == 0 {
		return
	}
	i, last := *p-1, len(q.items)-1
	q.swap(i, last)
	var none T
	q.items[last] = none
	q.items = q.items[:last]
	*p = 0
	if i < last && !q.up(i) {
		q.down(i)
	}
}

func (q *queue[T]) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !q.before(q.items[i], q.items[parent]) {
			break
		}
		q.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (q *queue[T]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.items) {
			return
		}
		if child+1 < len(q.items) && q.before(q.items[child+1], q.items[child]) {
			child++
		}
		if !q.before(q.items[child], q.items[i]) {
			return
		}
		q.swap(i, child)
		i = child
	}
}

func (q *queue[T]) swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	*q.place(q.items[i]), *q.place(q.items[j]) = i+1, j+1
}
