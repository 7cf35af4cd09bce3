//go:build !unix

package store

// fileLock does nothing where the system has no advisory locks.
type fileLock struct{}

func lockFile(string) (*fileLock, error) { return &fileLock{}, nil }

func (*fileLock) unlock() error { return nil }
