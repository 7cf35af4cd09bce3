// Command dex runs dex, an OpenID provider that others wrote, with users who have
// passwords, until it is stopped. It prints one line of JSON once it is ready.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"time"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// user is somebody whom the provider knows.
type user struct {
	ID       string `json:"id"`
	Email    string `json:"email"`
	Username string `json:"username"`
	Password string `json:"password"`
	Hash     string `json:"hash"` // by bcrypt, in place of the password
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	id := flag.String("client-id", "tenantry", "`id` of the one client")
	secret := flag.String("client-secret", "", "its `secret`")
	redirect := flag.String("redirect-uri", "", "`URI` that answers go to")
	users := flag.String("users", "[]", "`JSON` list of users: id, email, username, and password or hash")
	lifetime := flag.Duration("id-token-lifetime", 24*time.Hour, "how long an ID token is good for")
	flag.Parse()
	if err := run(*listen, *id, *secret, *redirect, *users, *lifetime); err != nil {
		log.Fatal(err)
	}
}

func run(listen, id, secret, redirect, users string, lifetime time.Duration) error {
	passwords, err := parseUsers(users)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	issuer := "http://" + listener.Addr().String()
	logger := logrus.New()
	logger.SetLevel(logrus.ErrorLevel)
	local := storage.Connector{ID: server.LocalConnector, Name: "Email", Type: server.LocalConnector}
	stored := storage.WithStaticClients(memory.New(logger), []storage.Client{{ID: id, Secret: secret, RedirectURIs: []string{redirect}, Name: "Tenantry"}})
	stored = storage.WithStaticConnectors(storage.WithStaticPasswords(stored, passwords, logger), []storage.Connector{local})
	handler, err := server.NewServer(context.Background(), server.Config{
		Issuer: issuer, Storage: stored, SkipApprovalScreen: true, IDTokensValidFor: lifetime, Logger: logger,
		Web: server.WebConfig{Dir: webFolder()}, PrometheusRegistry: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"issuer": issuer, "client_id": id, "client_secret": secret}); err != nil {
		return err
	}
	return http.Serve(listener, handler)
}

func parseUsers(text string) ([]storage.Password, error) {
	var users []user
	if err := json.Unmarshal([]byte(text), &users); err != nil {
		return nil, err
	}
	var passwords []storage.Password
	for _, u := range users {
		if u.Hash == "" {
			// dex refuses users whose hashes were made with less.
			hash, err := bcrypt.GenerateFromPassword([]byte(u.Password), 10)
			if err != nil {
				return nil, err
			}
			u.Hash = string(hash)
		}
		passwords = append(passwords, storage.Password{Email: u.Email, Hash: []byte(u.Hash), Username: u.Username, UserID: u.ID})
	}
	return passwords, nil
}

// webFolder has dex's templates: they lie beside the source that was compiled.
func webFolder() string {
	start := reflect.ValueOf(server.NewServer).Pointer()
	file, _ := runtime.FuncForPC(start).FileLine(start)
	return filepath.Join(filepath.Dir(file), "..", "web")
}
