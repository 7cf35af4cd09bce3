package service

import (
	"sync"

	"github.com/tenantry/tenantry/internal/tenant"
)

// mostReports is how many reports one credential may read at once: a slow reader holds
// two chunks of users, some 5 MB, for as long as it likes.
const mostReports = 16

// reports counts those that are under way, by credential.
type reports struct {
	mu sync.Mutex
	n  map[string]int
}

// enter counts one more, until leave is called, or refuses it with kind TooMany.
func (r *reports) enter(credentialID string) (leave func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = map[string]int{}
	}
	if r.n[credentialID] >= mostReports {
		return nil, tenant.RefuseParameter(tenant.TooMany, "Authorization", "Other reports are under way. Wait until they are done.")
	}
	r.n[credentialID]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.n[credentialID]--; r.n[credentialID] == 0 {
			delete(r.n, credentialID)
		}
	}, nil
}
