package memory

import (
	"iter"
	"slices"
	"sort"
	"strings"
)

// chunkSize bounds what one insertion or removal moves.
const chunkSize = 512

// ordered is a set sorted by key. IDs grow, so nearly all that is put in goes to the end, and what
// Prune takes out mostly comes from the start.
type ordered[T interface{ key() string }] struct {
	chunks [][]T // none is empty
	n      int
}

func (o *ordered[T]) len() int { return o.n }

// put adds v, or replaces what has its key.
func (o *ordered[T]) put(v T) {
	c, i, found := o.find(v.key())
	switch {
	case found:
		o.chunks[c][i] = v
		return
	case c == len(o.chunks) && (c == 0 || len(o.chunks[c-1]) == chunkSize):
		o.chunks = append(o.chunks, append(make([]T, 0, 8), v))
	case c == len(o.chunks):
		o.chunks[c-1] = append(o.chunks[c-1], v)
	default:
		o.insert(c, i, v)
	}
	o.n++
}

func (o *ordered[T]) insert(c, i int, v T) {
	chunk := slices.Insert(o.chunks[c], i, v)
	if len(chunk) <= chunkSize {
		o.chunks[c] = chunk
		return
	}
	half := len(chunk) / 2
	o.chunks[c] = slices.Clone(chunk[:half])
	o.chunks = slices.Insert(o.chunks, c+1, slices.Clone(chunk[half:]))
}

func (o *ordered[T]) remove(key string) {
	c, i, found := o.find(key)
	if !found {
		return
	}
	o.n--
	o.chunks[c] = slices.Delete(o.chunks[c], i, i+1)
	if len(o.chunks[c]) == 0 {
		o.chunks = slices.Delete(o.chunks, c, c+1)
	}
}

func (o *ordered[T]) get(key string) (v T, ok bool) {
	if c, i, found := o.find(key); found {
		return o.chunks[c][i], true
	}
	return v, false
}

// find returns where key is or would be; past the last chunk if it is greater than all.
func (o *ordered[T]) find(key string) (chunk, i int, found bool) {
	chunk = sort.Search(len(o.chunks), func(c int) bool {
		return o.chunks[c][len(o.chunks[c])-1].key() >= key
	})
	if chunk == len(o.chunks) {
		return chunk, 0, false
	}
	i, found = slices.BinarySearchFunc(o.chunks[chunk], key, func(v T, key string) int {
		return strings.Compare(v.key(), key)
	})
	return chunk, i, found
}

// down goes from the greatest key below the given one to the least; from the greatest of all if the
// given one is empty. The set must not change meanwhile.
func (o *ordered[T]) down(below string) iter.Seq[T] {
	return func(yield func(T) bool) {
		c, i := len(o.chunks), 0
		if below != "" {
			c, i, _ = o.find(below)
		}
		for {
			for i--; i >= 0; i-- {
				if !yield(o.chunks[c][i]) {
					return
				}
			}
			if c--; c < 0 {
				return
			}
			i = len(o.chunks[c])
		}
	}
}

// up returns at most n items with keys above the given one, the least first.
func (o *ordered[T]) up(above string, n int) []T {
	c, i := 0, 0
	if above != "" {
		var found bool
		if c, i, found = o.find(above); found {
			i++
		}
	}
	out := make([]T, 0, min(n, o.n))
	for ; c < len(o.chunks) && len(out) < n; c, i = c+1, 0 {
		chunk := o.chunks[c][i:]
		out = append(out, chunk[:min(len(chunk), n-len(out))]...)
	}
	return out
}
