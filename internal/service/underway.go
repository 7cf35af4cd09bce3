package service

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// underway knows the creates that are being done, so that a retry does not
// overtake the request that it repeats and do it twice: hashing a password takes
// longer than some SDKs wait before they ask again.
type underway struct {
	db        *store.DB
	mu        sync.Mutex
	byRequest map[string][]chan struct{}
}

// enter waits, in a try above the first, until all equal requests that came
// before, to whatever node, are done. Call leave when this one is.
func (u *underway) enter(ctx context.Context, o Once) (func(), error) {
	if o.Key != "" || o.Request == "" { // the key tells apart what is equal, in any order; a seed asks once
		return func() {}, nil
	}
	request, done := o.Request+"\x00"+string(o.Body), make(chan struct{})
	u.mu.Lock()
	before := slices.Clone(u.byRequest[request])
	if u.byRequest == nil {
		u.byRequest = map[string][]chan struct{}{}
	}
	u.byRequest[request] = append(u.byRequest[request], done)
	u.mu.Unlock()
	leave := func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		rest := slices.DeleteFunc(u.byRequest[request], func(c chan struct{}) bool { return c == done })
		if u.byRequest[request] = rest; len(rest) == 0 {
			delete(u.byRequest, request)
		}
		close(done)
	}
	if o.Try == 0 {
		before = nil
	}
	for _, other := range before {
		select {
		case <-other:
		case <-ctx.Done():
			leave()
			return nil, tenant.Refuse(tenant.Unavailable, "")
		}
	}
	release, err := u.hold(ctx, request, o.Try)
	if err != nil {
		leave()
		return nil, err
	}
	return func() {
		release()
		leave()
	}, nil
}

// mostTries is how many tries before this one may still be under way.
const mostTries = 4

// hold lets later tries on other nodes wait for this one, and waits for those
// before it there, which wait for those before them.
func (u *underway) hold(ctx context.Context, request string, try int64) (release func(), err error) {
	name := func(try int64) string { return request + "\x00" + strconv.FormatInt(try, 10) }
	if release, err = u.db.Hold(ctx, name(try), false); err != nil {
		return nil, err
	}
	for before := max(0, try-mostTries); before < try; before++ {
		done, err := u.db.Hold(ctx, name(before), true)
		if err != nil {
			release()
			return nil, err
		}
		done()
	}
	return release, nil
}
