//go:build unix

package app_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestPortal runs test/portal, where a real browser visits the program as it is
// shipped. Its OpenID provider and the server of its mails are by others.
func TestPortal(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Chromium, Node, npm and minutes")
	}
	// Not beside others: a browser takes what calls through Kamailio need to be in time.
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "a browser", program, err)
		}
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		chromium, err = exec.LookPath("chromium-browser")
	}
	if err != nil {
		missing(t, "a browser", "chromium", err)
	}
	folder, err := filepath.Abs("../../test/portal")
	if err != nil {
		t.Fatal(err)
	}
	installNode(t, "a browser", folder)
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.test.mjs"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no tests in %s: %v", folder, err)
	}
	certificate, key := certificateFiles(t)
	// Each file has a server and a browser of its own, which mostly wait for each other.
	runNode(t, folder, append([]string{"--test-concurrency=2"}, files...),
		"TENANTRY_BINARY="+binary, "TENANTRY_CHROMIUM="+chromium, "TENANTRY_DEX="+buildDex(t),
		"TENANTRY_CERTIFICATE="+certificate, "TENANTRY_CERTIFICATE_KEY="+key,
	)
}

// buildDex builds test/dex, which is a module of its own.
func buildDex(t *testing.T) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	run := func(args ...string) ([]byte, error) {
		c := exec.CommandContext(ctx, "go", args...)
		c.Dir = "../../test/dex"
		c.Env = append(os.Environ(), "GOWORK=off")
		inGroup(c)
		return c.CombinedOutput()
	}
	if out, err := run("mod", "download"); err != nil {
		missing(t, "dex", "its source", errors.New(string(out)))
	}
	path := filepath.Join(t.TempDir(), "dex")
	if out, err := run("build", "-o", path, "."); err != nil {
		t.Fatalf("dex does not build: %v\n%s", err, out)
	}
	return path
}

// certificateFiles are a certificate of 127.0.0.1 that signs itself, and its key.
func certificateFiles(t *testing.T) (certificate, key string) {
	t.Helper()
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	pair := web.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("certificate.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}
