//go:build !unix

package cli

import "os"

// lockFile does nothing: this system has no lock that ends with the process.
func lockFile(*os.File) error { return nil }
