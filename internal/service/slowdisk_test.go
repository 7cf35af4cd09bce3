package service_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/faultfs"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// BenchmarkCreateSlowDisk is 64 callers who create accounts on a disk whose sync
// takes 2 ms, with shared commits and with one transaction each: what group commit
// is for does not show on a disk that syncs ten thousand times a second.
func BenchmarkCreateSlowDisk(b *testing.B) {
	for name, batch := range map[string]int{"grouped": 256, "one-each": 1} {
		b.Run(name, func(b *testing.B) {
			fs := faultfs.Mount(b, b.TempDir())
			db, err := store.Open(b.Context(), filepath.Join(fs.Dir(), "tenantry.db"), store.Options{Batch: batch})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			sealer, err := auth.NewSealer(make([]byte, auth.MasterKeySize), db.Source())
			if err != nil {
				b.Fatal(err)
			}
			s := service.New(db, sealer, auth.NewPasswords(0), service.Options{})
			operator, email, id, pool := tenant.Actor{Operator: true}, "m@example.com", "", int64(0)
			if _, err := s.CreateRootAccount(b.Context(), operator, service.NewAccount{BusinessName: "M", Email: &email}, service.Once{}, func(a *service.Account) ([]byte, error) {
				id = a.ID
				return nil, nil
			}); err != nil {
				b.Fatal(err)
			}
			if _, err := s.ApproveManager(b.Context(), operator, id, &pool); err != nil {
				b.Fatal(err)
			}
			actor := tenant.Actor{AccountID: id, UserID: id, Manager: true, CredentialID: "k"}
			fs.SlowFsync(2 * time.Millisecond)
			b.ResetTimer()
			var callers sync.WaitGroup
			var taken atomic.Int64
			for range 64 {
				callers.Go(func() {
					for taken.Add(1) <= int64(b.N) {
						for {
							_, err := s.CreateManagedAccount(b.Context(), actor, service.NewAccount{BusinessName: "Slow"}, service.Once{Request: "r"}, func(a *service.Account) ([]byte, error) {
								return json.Marshal(a.Account)
							})
							if !errors.Is(err, store.ErrBusy) {
								if err != nil {
									b.Error(err)
								}
								break
							}
							runtime.Gosched() // the queue is as short as the batch
						}
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		})
	}
}
