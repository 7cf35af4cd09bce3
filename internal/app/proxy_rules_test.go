//go:build unix

package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tenantry/tenantry/api"
)

// Envoy and Traefik are in no package of Debian's. What they would ask a real
// Tenantry, and what they make of its answer, is worked out from their files in
// deploy/ by the rules that their documentation and source give.

// rules are a proxy's. ask is what it sends to Tenantry about a request; judge is the
// request that goes upstream, or else the answer to the caller.
type rules struct {
	ask   func(r *http.Request) *http.Request
	judge func(r *http.Request, answer reply) (upstream http.Header, caller reply)
}

// envoyFile is what these tests need of a configuration of Envoy's.
type envoyFile struct {
	StaticResources struct {
		Listeners []struct {
			FilterChains []struct {
				Filters []struct {
					TypedConfig struct {
						Protocol struct {
							Underscores string `yaml:"headers_with_underscores_action"`
						} `yaml:"common_http_protocol_settings"`
						RouteConfig struct {
							VirtualHosts []struct {
								RequestHeadersToRemove []string `yaml:"request_headers_to_remove"`
								Routes                 []struct {
									Route struct{ Cluster, Timeout string }
								}
							} `yaml:"virtual_hosts"`
						} `yaml:"route_config"`
						HTTPFilters []struct {
							Name        string
							TypedConfig extAuthz `yaml:"typed_config"`
						} `yaml:"http_filters"`
					} `yaml:"typed_config"`
				}
			} `yaml:"filter_chains"`
		}
		Clusters []struct{ Name string }
	} `yaml:"static_resources"`
}

type envoyPatterns struct{ Patterns []struct{ Exact string } }

func (p envoyPatterns) names() (names []string) {
	for _, pattern := range p.Patterns {
		names = append(names, http.CanonicalHeaderKey(pattern.Exact))
	}
	return names
}

type extAuthz struct {
	FailureModeAllow bool                  `yaml:"failure_mode_allow"`
	StatusOnError    struct{ Code string } `yaml:"status_on_error"`
	AllowedHeaders   envoyPatterns         `yaml:"allowed_headers"`
	HTTPService      struct {
		ServerURI            struct{ URI, Cluster, Timeout string } `yaml:"server_uri"`
		PathPrefix           string                                 `yaml:"path_prefix"`
		AuthorizationRequest struct {
			HeadersToAdd []struct{ Key, Value string } `yaml:"headers_to_add"`
		} `yaml:"authorization_request"`
		AuthorizationResponse struct {
			AllowedUpstreamHeaders envoyPatterns `yaml:"allowed_upstream_headers"`
			AllowedClientHeaders   envoyPatterns `yaml:"allowed_client_headers"`
		} `yaml:"authorization_response"`
	} `yaml:"http_service"`
}

// envoyRules follow the documentation of ExtAuthz (v3): the method, Host,
// Authorization and path of the request, the path behind the prefix; Content-Length 0;
// exactly 200 is yes, 5xx no answer.
func envoyRules(t *testing.T, token string) rules {
	f := inDeploy[envoyFile](t, "envoy/envoy.yaml")
	manager := f.StaticResources.Listeners[0].FilterChains[0].Filters[0].TypedConfig
	host, filter := manager.RouteConfig.VirtualHosts[0], manager.HTTPFilters[0]
	c, s := filter.TypedConfig, filter.TypedConfig.HTTPService
	if filter.Name != "envoy.filters.http.ext_authz" || len(manager.HTTPFilters) != 2 || manager.HTTPFilters[1].Name != "envoy.filters.http.router" {
		t.Fatalf("the filters are %+v", manager.HTTPFilters)
	}
	if c.FailureModeAllow || c.StatusOnError.Code != "ServiceUnavailable" || s.ServerURI.Timeout != "3s" || s.ServerURI.Cluster != f.StaticResources.Clusters[0].Name ||
		host.Routes[0].Route.Cluster != f.StaticResources.Clusters[1].Name || host.Routes[0].Route.Timeout != "0s" {
		t.Errorf("%+v, %+v", c, host)
	}
	return rules{
		ask: func(r *http.Request) *http.Request {
			q := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{"Content-Length": {"0"}}}
			q.URL = r.URL.JoinPath() // a copy
			q.URL.Opaque = s.PathPrefix + r.RequestURI
			for _, name := range append(c.AllowedHeaders.names(), "Authorization") {
				if values, ok := r.Header[name]; ok {
					q.Header[name] = values
				}
			}
			for _, h := range s.AuthorizationRequest.HeadersToAdd {
				q.Header.Set(h.Key, strings.ReplaceAll(h.Value, "ADMISSION_TOKEN", token))
			}
			return q
		},
		judge: func(r *http.Request, answer reply) (http.Header, reply) {
			out := reply{&http.Response{StatusCode: answer.StatusCode, Header: http.Header{}}, answer.body}
			switch {
			case answer.StatusCode == 200:
				upstream := r.Header.Clone()
				for name := range upstream {
					if manager.Protocol.Underscores == "DROP_HEADER" && strings.Contains(name, "_") {
						delete(upstream, name)
					}
				}
				for _, name := range s.AuthorizationResponse.AllowedUpstreamHeaders.names() {
					if values, ok := answer.Header[name]; ok {
						upstream[name] = values
					}
				}
				for _, name := range host.RequestHeadersToRemove {
					upstream.Del(name)
				}
				return upstream, reply{}
			case answer.StatusCode >= 500:
				return nil, reply{&http.Response{StatusCode: 503, Header: http.Header{}}, nil}
			}
			for _, name := range append(s.AuthorizationResponse.AllowedClientHeaders.names(), "Www-Authenticate", "Location") {
				if values, ok := answer.Header[name]; ok {
					out.Header[name] = values
				}
			}
			return nil, out
		},
	}
}

// traefikFile is all that a dynamic configuration of Traefik's may have here: what is
// not in it is a mistake.
type traefikFile struct {
	HTTP struct {
		Routers map[string]struct {
			Rule, Service string
			EntryPoints   []string `yaml:"entryPoints"`
			Middlewares   []string
		}
		Middlewares map[string]traefikMiddleware
		Services    map[string]struct {
			LoadBalancer struct {
				Servers []struct{ URL string }
			} `yaml:"loadBalancer"`
		}
	}
}

type traefikMiddleware struct {
	Headers struct {
		Request  map[string]string `yaml:"customRequestHeaders"`
		Response map[string]string `yaml:"customResponseHeaders"`
	}
	ForwardAuth struct {
		Address  string
		Trust    bool     `yaml:"trustForwardHeader"`
		Request  []string `yaml:"authRequestHeaders"`
		Response []string `yaml:"authResponseHeaders"`
	} `yaml:"forwardAuth"`
}

// setHeaders changes headers as Traefik's middleware does: "" takes one away.
func setHeaders(header http.Header, values map[string]string) {
	for name, value := range values {
		if header.Del(name); value != "" {
			header.Set(name, value)
		}
	}
}

// traefikRules follow the source of forwardAuth (v3): GET of the address as it is, the
// headers that are named, X-Forwarded-* of its own; 2xx is yes, anything else goes to
// the caller.
func traefikRules(t *testing.T, token string) rules {
	text, err := os.ReadFile(filepath.Join(deployFolder, "traefik/tenantry.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var f traefikFile
	d := yaml.NewDecoder(strings.NewReader(strings.ReplaceAll(string(text), `{{ env "TENANTRY_ADMISSION_TOKEN" }}`, token)))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		t.Fatal(err)
	}
	router := f.HTTP.Routers["api"]
	var chain []traefikMiddleware
	for _, name := range router.Middlewares {
		m, ok := f.HTTP.Middlewares[name]
		if !ok {
			t.Fatalf("there is no %s", name)
		}
		chain = append(chain, m)
	}
	if len(chain) != 3 || chain[1].ForwardAuth.Address == "" || chain[1].ForwardAuth.Trust || len(f.HTTP.Services[router.Service].LoadBalancer.Servers) != 1 {
		t.Fatalf("%+v", f)
	}
	before, auth, behind := chain[0].Headers, chain[1].ForwardAuth, chain[2].Headers
	return rules{
		ask: func(r *http.Request) *http.Request {
			header := r.Header.Clone()
			setHeaders(header, before.Request)
			q, err := http.NewRequest("GET", auth.Address, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range auth.Request {
				if values, ok := header[http.CanonicalHeaderKey(name)]; ok {
					q.Header[http.CanonicalHeaderKey(name)] = values
				}
			}
			for name, value := range map[string]string{"For": "192.0.2.1", "Method": r.Method, "Proto": "http", "Port": "80", "Host": r.Host, "Uri": r.RequestURI} {
				q.Header.Set("X-Forwarded-"+name, value)
			}
			return q
		},
		judge: func(r *http.Request, answer reply) (http.Header, reply) {
			if answer.StatusCode/100 != 2 {
				out := reply{&http.Response{StatusCode: answer.StatusCode, Header: answer.Header.Clone()}, answer.body}
				setHeaders(out.Header, before.Response)
				return nil, out
			}
			upstream := r.Header.Clone()
			setHeaders(upstream, before.Request)
			for _, name := range auth.Response {
				name = http.CanonicalHeaderKey(name)
				upstream.Del(name)
				if values, ok := answer.Header[name]; ok {
					upstream[name] = values
				}
			}
			setHeaders(upstream, behind.Request)
			return upstream, reply{}
		},
	}
}

// TestProxyRules puts what Envoy and Traefik would ask to a real Tenantry.
func TestProxyRules(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs the program")
	}
	w := newProxyWorld(t)
	tenantry := strings.TrimPrefix(w.process.url, "http://")
	larry, other := w.ids["larry@example.com"], w.ids["other@example.com"]
	if _, err := w.manager().Disable(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	bearer := func(email string) http.Header { return http.Header{"Authorization": {"Bearer " + w.keys[email]}} }
	forged := func(h http.Header) http.Header {
		h = h.Clone()
		for _, name := range []string{"Account", "Admission", "Body", "Reason", "Status", "Statuses"} {
			h["X-Tenantry-"+name] = []string{other}
		}
		h["X_tenantry_account"] = []string{other}
		h["Cookie"] = []string{"session=secret"}
		return h
	}
	v1 := http.Header{"X-Api-User": {"larry@example.com"}, "X-Api-Token": {w.tokens["larry@example.com"]}}
	for name, p := range map[string]rules{"envoy": envoyRules(t, w.token), "traefik": traefikRules(t, w.token)} {
		for i, x := range []struct {
			header  http.Header
			status  int
			code    string
			account string
		}{
			{bearer("larry@example.com"), 200, "", larry},
			{v1, 200, "", larry},
			{forged(bearer("larry@example.com")), 200, "", larry},
			{http.Header{}, 401, "10009", ""},
			{forged(http.Header{}), 401, "10009", ""},
			{http.Header{"Authorization": {"Bearer KEY0"}}, 401, "10009", ""},
			{bearer("other@example.com"), 403, "20012", ""},
			{forged(bearer("blocked@example.com")), 429, "10011", ""},
			{bearer("cancelled@example.com"), 503, "10007", ""},
		} {
			for _, target := range []string{"/", "/v2/messages?kind=call&account_id=" + other, "//x/../%2e%2e/%00", "*"} {
				for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS", "HEAD"} {
					what := fmt.Sprintf("%s, %d, %s %s", name, i, method, target)
					if (target == "*") != (method == "OPTIONS") {
						continue
					}
					r, err := http.NewRequest(method, "http://localhost/", nil)
					if err != nil {
						t.Fatal(err)
					}
					r.RequestURI, r.Header = target, x.header
					q := p.ask(r)
					if q.Header.Get("Cookie") != "" || q.Header.Get("X-Tenantry-Admission") != w.token || q.Header.Get("X-Tenantry-Statuses") != "all" {
						t.Errorf("%s: Tenantry would get %v", what, q.Header)
					}
					q.URL.Scheme, q.URL.Host = "http", tenantry
					response, err := http.DefaultTransport.RoundTrip(q)
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					body, err := io.ReadAll(response.Body)
					response.Body.Close()
					if err != nil {
						t.Fatal(err)
					}
					upstream, caller := p.judge(r, reply{response, body})
					if name == "envoy" && target == "*" {
						// The prefix with a star behind it is no path of Tenantry's.
						if upstream != nil || caller.StatusCode != 404 {
							t.Errorf("%s: %v, %d", what, upstream, caller.StatusCode)
						}
						continue
					}
					if x.account != "" {
						names := slices.DeleteFunc(slices.Collect(maps.Keys(upstream)), func(name string) bool { return name == "Cookie" })
						if len(names) != 1 || !slices.Equal(upstream["X-Tenantry-Account"], []string{x.account}) {
							t.Errorf("%s: the upstream would get %v", what, upstream)
						}
						continue
					}
					if upstream != nil || caller.StatusCode != x.status {
						t.Errorf("%s: %v, %d, want %d", what, upstream, caller.StatusCode, x.status)
						continue
					}
					noneOfTenantry(t, caller)
					if name == "envoy" && x.status == 503 || method == "HEAD" {
						continue // without a body
					}
					var errors api.Errors
					if err := json.Unmarshal(caller.body, &errors); err != nil || len(errors.Errors) != 1 || errors.Errors[0].Code != x.code || caller.Header.Get("Content-Type") != "application/json" {
						t.Errorf("%s: the caller would get %v %s", what, caller.Header, caller.body)
					}
					if got, want := caller.Header.Get("Retry-After"), x.status == 429 || x.status == 503; (got == "1") != want {
						t.Errorf("%s: Retry-After is %q", what, got)
					}
				}
			}
		}
	}
}
