package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenantry/tenantry/client"
)

// Connection says how patient calls are.
type Connection struct {
	Timeout time.Duration `group:"Server" default:"1m" help:"How long each try of a call may take."`
	Retries int           `group:"Server" default:"2" help:"How often a call that failed for a reason that may pass is tried again."`
	Debug   bool          `group:"Server" help:"Log each try on standard error."`
}

// Server says which server is called, and as whom.
type Server struct {
	Profile string `group:"Server" placeholder:"NAME" help:"Profile to use (TENANTRY_PROFILE)."`
	BaseURL string `group:"Server" name:"base-url" placeholder:"URL" help:"Address of the API, /v2 included (TELNYX_BASE_URL)."`
	Key     string `group:"Server" placeholder:"KEY" help:"API key; better by a profile or the environment (TELNYX_API_KEY)."`
	Connection
}

// setting is a value and where it comes from.
type setting struct{ value, source string }

// settings is which server is called, and as whom.
type settings struct {
	profile      string // "" when none has a part in it
	baseURL, key setting
}

// settings looks in the flags, then in the environment, then in the profile; a
// profile that is named by a flag comes before the environment, so that its URL
// and its key are not torn apart.
func (s *Server) settings() (settings, error) {
	var found settings
	take := func(into *setting, value, source string) {
		if into.value == "" && value != "" {
			*into = setting{value, source}
		}
	}
	fromProfile := func(name string) error {
		file, err := loadProfiles()
		if err != nil {
			return err
		}
		if name == "" {
			name = file.Current
		}
		if name == "" {
			return nil
		}
		p, ok := file.Profiles[name]
		if !ok {
			return usagef("there is no profile %s: tenantry profile list shows those that are", name)
		}
		found.profile = name
		take(&found.baseURL, p.BaseURL, "profile "+name)
		take(&found.key, p.Key, "profile "+name)
		return nil
	}
	take(&found.baseURL, s.BaseURL, "--base-url")
	take(&found.key, s.Key, "--key")
	if s.Profile != "" {
		if err := fromProfile(s.Profile); err != nil {
			return found, err
		}
	}
	take(&found.baseURL, os.Getenv("TELNYX_BASE_URL"), "TELNYX_BASE_URL")
	take(&found.key, os.Getenv("TELNYX_API_KEY"), "TELNYX_API_KEY")
	if s.Profile == "" && (found.baseURL.value == "" || found.key.value == "") {
		if err := fromProfile(os.Getenv("TENANTRY_PROFILE")); err != nil {
			return found, err
		}
	}
	take(&found.baseURL, client.DefaultBaseURL, "the default")
	found.key.value = strings.TrimSpace(found.key.value)
	return found, nil
}

// checkBaseURL refuses what can be no address.
func checkBaseURL(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usagef("the base URL has to be like %s", client.DefaultBaseURL)
	}
	return nil
}

// session is a command's connection and its output.
type session struct {
	*client.Client
	// operator is nil for commands of an account.
	operator *client.Operator
	// from is the client's base URL and where its settings come from.
	from settings

	t   *Terminal
	out Output
	dry *rehearsal // nil unless nothing is to be sent
}

// Reading is the flags of commands that change nothing.
type Reading struct {
	Output
	Server
}

func (f *Reading) open(t *Terminal, more ...client.Option) (*session, error) {
	return f.Server.open(t, f.Output, false, more...)
}

// Changing is the flags of commands that change something.
type Changing struct {
	Output
	Server
	DryRun bool `group:"Output" help:"Print what would be sent, and send nothing."`
}

func (f *Changing) open(t *Terminal, more ...client.Option) (*session, error) {
	return f.Server.open(t, f.Output, f.DryRun, more...)
}

func (s *Server) open(t *Terminal, o Output, dry bool, more ...client.Option) (*session, error) {
	found, err := s.settings()
	if err != nil {
		return nil, err
	}
	if err := checkBaseURL(found.baseURL.value); err != nil {
		return nil, err
	}
	if found.key.value == "" {
		return nil, &usageError{
			text: "there is no API key: set TELNYX_API_KEY, or make a profile with tenantry profile add",
			hint: "Try: tenantry doctor",
		}
	}
	x := s.Connection.session(t, o, dry, found, more...)
	return x, nil
}

func (c *Connection) session(t *Terminal, o Output, dry bool, found settings, more ...client.Option) *session {
	x := &session{from: found, t: t, out: o}
	options := []client.Option{
		client.WithBaseURL(found.baseURL.value), client.WithKey(found.key.value),
		client.WithTimeout(c.Timeout), client.WithRetries(c.Retries), client.WithUserAgent("tenantry-cli"),
	}
	if c.Debug {
		options = append(options, client.WithLogger(slog.New(slog.NewTextHandler(t.Err, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	if dry {
		x.dry = &rehearsal{}
		options = append(options, client.WithHTTPClient(&http.Client{Transport: x.dry}), client.WithRetries(0))
	}
	x.Client = client.New(append(options, more...)...)
	return x
}

// finish prints the outcome of a change, or what would have been sent.
func finish[T any](x *session, v view[T], item *T, err error, reveal bool) error {
	if shown, err := x.rehearsed(); shown {
		return err
	}
	if err != nil {
		return err
	}
	return showOne(x.t, x.out, v, item, reveal)
}

// rehearsal lets reading through and keeps the first change instead of sending it,
// so that a dry run shows what the client really sends.
type rehearsal struct{ request *rehearsed }

type rehearsed struct {
	DryRun bool            `json:"dry_run"`
	Method string          `json:"method"`
	URL    string          `json:"url"`
	Body   json.RawMessage `json:"body,omitempty"`
}

var errRehearsed = errors.New("this is a dry run")

func (r *rehearsal) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet {
		return http.DefaultTransport.RoundTrip(request)
	}
	r.request = &rehearsed{DryRun: true, Method: request.Method, URL: request.URL.String()}
	if request.Body != nil {
		body, err := io.ReadAll(request.Body)
		request.Body.Close()
		if err != nil {
			return nil, err
		}
		r.request.Body = withoutSecrets(body)
	}
	return nil, errRehearsed
}

func withoutSecrets(body []byte) json.RawMessage {
	var fields struct {
		Password *string `json:"password"`
	}
	if json.Unmarshal(body, &fields) != nil || fields.Password == nil {
		return body
	}
	secret, _ := json.Marshal(*fields.Password)
	return bytes.Replace(body, append([]byte(`"password":`), secret...), []byte(`"password":"****"`), 1)
}

// rehearsed prints what a dry run kept; false when there is nothing.
func (x *session) rehearsed() (bool, error) {
	if x.dry == nil || x.dry.request == nil {
		return false, nil
	}
	r := x.dry.request
	if x.out.JSON {
		return true, encode(x.t.Out, r)
	}
	fmt.Fprintf(x.t.Out, "%s %s\n", r.Method, r.URL)
	if len(r.Body) > 0 {
		var text bytes.Buffer
		if err := json.Indent(&text, r.Body, "", "  "); err != nil {
			return true, err
		}
		fmt.Fprintln(x.t.Out, text.String())
	}
	x.t.note("Nothing was sent: this is a dry run.")
	return true, nil
}

// OperatorServer says which server is operated.
type OperatorServer struct {
	URL   string `group:"Server" name:"url" default:"http://127.0.0.1:8077/operator/v1" env:"TENANTRY_OPERATOR_URL" help:"Address of the operator API."`
	Token string `group:"Server" placeholder:"TOKEN" help:"Operator token (TENANTRY_OPERATOR_TOKEN); default: the file operator.token in the data folder."`
	Data  string `group:"Server" default:"tenantry-data" env:"TENANTRY_DATA" type:"path" help:"The server's data folder, when it is on this machine."`
	Connection
}

func (s *OperatorServer) open(t *Terminal, o Output, dry bool) (*session, error) {
	token := setting{s.Token, "--token"}
	if token.value == "" {
		token = setting{os.Getenv("TENANTRY_OPERATOR_TOKEN"), "TENANTRY_OPERATOR_TOKEN"}
	}
	if token.value == "" {
		path := filepath.Join(s.Data, "operator.token")
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, usagef("there is no operator token: set TENANTRY_OPERATOR_TOKEN, or name the server's data folder with --data")
		}
		token = setting{strings.TrimSpace(string(text)), path}
	}
	if err := checkBaseURL(s.URL); err != nil {
		return nil, usagef("the address of the operator API has to be like http://127.0.0.1:8077/operator/v1")
	}
	x := s.Connection.session(t, o, dry, settings{baseURL: setting{s.URL, "--url"}, key: token})
	x.operator = client.NewOperator(x.Client)
	return x, nil
}

// OperatorReading is the flags of operator commands that change nothing.
type OperatorReading struct {
	Output
	OperatorServer
}

func (f *OperatorReading) open(t *Terminal) (*session, error) {
	return f.OperatorServer.open(t, f.Output, false)
}

// OperatorChanging is the flags of operator commands that change something.
type OperatorChanging struct {
	Output
	OperatorServer
	DryRun bool `group:"Output" help:"Print what would be sent, and send nothing."`
}

func (f *OperatorChanging) open(t *Terminal) (*session, error) {
	return f.OperatorServer.open(t, f.Output, f.DryRun)
}
