package store

import (
	"hash/maphash"
	"sync"
)

// Cache keeps values that were read from the database until the database says
// that they changed. It is never wrong after a change was confirmed by this
// process, and for Staleness at most after one by another: a value that was being
// read while its id was announced is not kept, and none is used while it is
// doubtful whether everything is announced.
type Cache[V any] struct {
	db     *DB
	seed   maphash.Seed
	most   int
	shards [cacheShards]cacheShard[V]
}

const cacheShards = 64

type cacheShard[V any] struct {
	mu     sync.RWMutex
	values map[string]V
	// epoch grows with every announcement that concerns the shard.
	epoch uint64
	_     [64]byte
}

// NewCache makes a cache of at most about most values, by id. The ids are those
// that the database announces.
func NewCache[V any](db *DB, most int) *Cache[V] {
	c := &Cache[V]{db: db, seed: maphash.MakeSeed(), most: max(1, most/cacheShards)}
	for i := range c.shards {
		c.shards[i].values = map[string]V{}
	}
	db.Announce(c.forget)
	return c
}

func (c *Cache[V]) shard(id string) *cacheShard[V] {
	return &c.shards[maphash.String(c.seed, id)%cacheShards]
}

// Get is the kept value.
func (c *Cache[V]) Get(id string) (V, bool) {
	s := c.shard(id)
	s.mu.RLock()
	v, ok := s.values[id]
	s.mu.RUnlock()
	return v, ok && c.db.Trusted()
}

// Last is the kept value, even while it is doubtful whether it still holds: for as
// long as DB.Doubt says, and Staleness before that.
func (c *Cache[V]) Last(id string) (V, bool) {
	s := c.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.values[id]
	return v, ok
}

// Load is the kept value, or what read returns, which is then kept unless it is
// an error.
func (c *Cache[V]) Load(id string, read func() (V, error)) (V, error) {
	s := c.shard(id)
	s.mu.RLock()
	v, ok := s.values[id]
	epoch := s.epoch
	s.mu.RUnlock()
	if ok && c.db.Trusted() {
		return v, nil
	}
	v, err := read()
	if err != nil {
		return v, err
	}
	s.mu.Lock()
	if s.epoch == epoch {
		for old := range s.values {
			if len(s.values) < c.most {
				break
			}
			delete(s.values, old) // map order is random enough to choose a victim
		}
		s.values[id] = v
	}
	s.mu.Unlock()
	return v, nil
}

func (c *Cache[V]) forget(ids []string) {
	if ids == nil {
		for i := range c.shards {
			s := &c.shards[i]
			s.mu.Lock()
			s.epoch++
			clear(s.values)
			s.mu.Unlock()
		}
	}
	for _, id := range ids {
		s := c.shard(id)
		s.mu.Lock()
		s.epoch++
		delete(s.values, id)
		s.mu.Unlock()
	}
}
