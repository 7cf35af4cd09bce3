package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is "tenantry version".
type Version struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help shows an example.
func (Version) Help() string {
	return `Example:
  tenantry version --json`
}

// build is what was built.
type build struct {
	Version string `json:"version"`
	// Commit is the revision it was built from, "" when that is not known.
	Commit string `json:"commit,omitempty"`
	Go     string `json:"go"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
}

func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			b.Commit = setting.Value
		}
	}
	return b
}

// ProgramVersion is the version that was built, or "devel".
func ProgramVersion() string { return thisBuild().Version }

// Run prints the version that was built, or "devel".
func (x *Version) Run(t *Terminal) error {
	b := thisBuild()
	if x.JSON {
		return encode(t.Out, b)
	}
	_, err := fmt.Fprintf(t.Out, "tenantry %s (%s, %s/%s)\n", b.Version, b.Go, b.OS, b.Arch)
	return err
}
