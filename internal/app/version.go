package app

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is "tenantry version".
type Version struct{}

// Run prints the version that was built, or "devel".
func (Version) Run() error {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	fmt.Printf("tenantry %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
