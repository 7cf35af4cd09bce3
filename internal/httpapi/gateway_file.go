package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/tenant"
)

// GatewayService is a service of the operator's that is put behind this API, as the
// file of services has it.
type GatewayService struct {
	// Name is that of the operation in metrics and in the log.
	Name string `yaml:"name"`
	// Path is where it is, without a slash at the end; the longest one counts.
	Path string `yaml:"path"`
	// URL is where requests go: http or https, a host, and perhaps a path.
	URL string `yaml:"url"`
	// StripPrefix takes Path off what is passed on.
	StripPrefix bool `yaml:"strip_prefix"`
	// Timeout is how long the service may take to take in the next piece of a request,
	// or to begin its answer, and the client to send such a piece; 0 means 30 seconds.
	Timeout time.Duration `yaml:"timeout"`
	// Headers are set in each request, whatever the caller sent.
	Headers map[string]HeaderValue `yaml:"headers"`
	// Kind is what admission is asked about: admission.API, also for "", or Message.
	Kind string `yaml:"kind"`
	// Methods are those that pass; none means all but TRACE and CONNECT.
	Methods []string `yaml:"methods"`
	// MaxBody is the largest request body, in bytes; 0 means any.
	MaxBody int64 `yaml:"max_body"`
	// Permissions are what a user who is not the owner has to have, all of them.
	Permissions []string `yaml:"permissions"`
}

// HeaderValue is a text that may be a secret: what prints it prints nothing of it.
type HeaderValue struct {
	text string
	env  string // the variable that the text is in, "" when it stands in the file
}

// String does not tell.
func (HeaderValue) String() string { return "(hidden)" }

// GoString does not tell.
func (HeaderValue) GoString() string { return "(hidden)" }

// UnmarshalYAML reads a text, or {env: VARIABLE}.
func (v *HeaderValue) UnmarshalYAML(node *yaml.Node) error {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag != "!!null":
		v.text = node.Value
		return nil
	case node.Kind == yaml.MappingNode && len(node.Content) == 2 && node.Content[0].Value == "env" &&
		node.Content[1].Kind == yaml.ScalarNode && node.Content[1].Value != "":
		v.env = node.Content[1].Value
		return nil
	}
	return fmt.Errorf("line %d: a header is a text, or {env: VARIABLE}", node.Line)
}

// ReadServices reads a file of services: YAML with the list "services". Environment
// variables are looked up with lookup. A field that there is not, and whatever could
// not work or would hide a path of this API, is refused; the error names line and
// service, and never a value of a header.
func ReadServices(text []byte, lookup func(string) (string, bool)) ([]GatewayService, error) {
	var file struct {
		Services []GatewayService `yaml:"services"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && err != io.EOF {
		return nil, errors.New(ownWords.Replace(err.Error()))
	}
	if err := d.Decode(&yaml.Node{}); err != io.EOF {
		return nil, errors.New("there is more than one document in it")
	}
	if len(file.Services) == 0 {
		return nil, errors.New("there are no services in it")
	}
	var places struct {
		Services []yaml.Node `yaml:"services"`
	}
	if err := yaml.Unmarshal(text, &places); err != nil {
		return nil, err
	}
	for i := range file.Services {
		g := &file.Services[i]
		err := g.check(lookup)
		for j := 0; j < i && err == nil; j++ {
			switch other := &file.Services[j]; {
			case other.Name == g.Name:
				err = errors.New("there are two services of that name")
			case strings.EqualFold(other.Path, g.Path):
				err = fmt.Errorf("the path %s is that of service %s, too", g.Path, other.Name)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: service %s: %w", places.Services[i].Line, g.Name, err)
		}
	}
	return file.Services, nil
}

// ownWords turn what the library says of our types into what it means.
var ownWords = strings.NewReplacer(
	"yaml: ", "", " in type struct { Services []httpapi.GatewayService \"yaml:\\\"services\\\"\" }", " in the file", " in type httpapi.GatewayService", " in a service",
	"[]httpapi.GatewayService", "a list of services", "map[string]httpapi.HeaderValue", "headers", "httpapi.GatewayService", "a service",
	"time.Duration", "a time such as 30s",
)

var (
	serviceName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	servicePath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	headerName  = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
)

// check refuses what cannot work, and fills in what was left out.
func (g *GatewayService) check(lookup func(string) (string, bool)) error {
	if g.Timeout == 0 {
		g.Timeout = 30 * time.Second
	}
	if g.Kind == "" {
		g.Kind = admission.API
	}
	switch {
	case !serviceName.MatchString(g.Name) || g.Name == "unknown":
		return errors.New("a name has 1 to 63 characters out of a-z, 0-9, - and _, the first a letter, and is not unknown")
	case !servicePath.MatchString(g.Path) || path.Clean(g.Path) != g.Path || len(g.Path) > 255:
		return fmt.Errorf("the path has to be like /v2/messages, without a slash at the end, not %q", g.Path)
	case g.Timeout < 10*time.Millisecond || g.Timeout > time.Hour:
		return errors.New("timeout must be from 10ms to 1h")
	case g.Kind != admission.API && g.Kind != admission.Message:
		return fmt.Errorf("kind must be %s or %s, not %q", admission.API, admission.Message, g.Kind)
	case g.MaxBody < 0:
		return errors.New("max_body must not be negative; without it a body may have any size")
	}
	if taken := takenBy(g.Path); taken != "" {
		return fmt.Errorf("the path %s is in the way of Tenantry's own %s", g.Path, taken)
	}
	if err := checkUpstream(g.URL); err != nil {
		return err
	}
	for _, method := range g.Methods {
		if method != strings.ToUpper(method) || !headerName.MatchString(method) || method == http.MethodTrace || method == http.MethodConnect {
			return fmt.Errorf("methods are in upper case, such as GET, and not TRACE or CONNECT: %q", method)
		}
	}
	for _, permission := range g.Permissions {
		if !slices.Contains(tenant.Permissions, permission) {
			return fmt.Errorf("a permission is one of %s, not %q", strings.Join(tenant.Permissions, ", "), permission)
		}
	}
	canonical := map[string]HeaderValue{}
	for name, value := range g.Headers {
		key := textproto.CanonicalMIMEHeaderKey(name)
		if _, twice := canonical[key]; twice || !headerName.MatchString(name) {
			return fmt.Errorf("headers: %q is there twice, or is no name of a header", name)
		}
		if fixed(key) {
			return fmt.Errorf("headers: %s is not for you to set", key)
		}
		if value.env != "" {
			text, ok := lookup(value.env)
			if !ok || text == "" {
				return fmt.Errorf("headers: %s: the environment variable %s is not set", key, value.env)
			}
			value.text = text
		}
		if value.text == "" || value.text != strings.TrimSpace(value.text) || strings.ContainsFunc(value.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("headers: the value of %s is empty, or has something in it that a header cannot have", key)
		}
		canonical[key] = value
	}
	g.Headers = canonical
	return nil
}

// fixed are the headers that belong to the connection, or are said of the caller.
func fixed(key string) bool {
	switch key {
	case "Host", "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "X-Request-Id":
		return true
	}
	return strings.HasPrefix(key, "X-Tenantry-") || strings.HasPrefix(key, "X-Forwarded-")
}

// checkUpstream refuses what is no address of a service. It does not repeat one that
// has a password in it.
func checkUpstream(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("url cannot be understood")
	case u.User != nil:
		return errors.New("url must have no user and password; put them into headers")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("url has to be like http://10.0.0.7:8080 or https://host/base, not %q", address)
	case u.Path != "" && unclean(u.EscapedPath()):
		return fmt.Errorf("the path of the url is not clean: %q", address)
	}
	return nil
}

// takenBy is what of our own a path would hide, or be hidden by, "" for nothing.
// Whatever case letters have, and whatever a part in braces may stand for.
func takenBy(prefix string) string {
	own := []string{operatorPrefix, admissionPrefix, "/portal"}
	for _, r := range Routes {
		_, pattern, _ := strings.Cut(r.Pattern, " ")
		own = append(own, pattern)
	}
	for _, pattern := range own {
		ours, theirs := strings.Split(pattern, "/"), strings.Split(prefix, "/")
		same := true
		for i := range min(len(ours), len(theirs)) {
			same = same && (strings.HasPrefix(ours[i], "{") || strings.EqualFold(ours[i], theirs[i]))
		}
		if same {
			return pattern
		}
	}
	return ""
}
