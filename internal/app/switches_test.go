//go:build unix

package app_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// These tests send what FreeSWITCH and Asterisk make out of their samples in deploy/,
// as far as their sources and documentation tell: neither is at hand.

const switchesSeed = `
accounts:
  - business_name: Example Reseller
    email: manager@example.com
    balance: "1000.00"
    manager: {channel_pool: 500}
    managed_accounts:
      - business_name: Larry's Cat Food Inc
        email: larry@example.com
        balance: "300.00"
        channel_limit: 2
        connections:
          - {name: Office, kind: credentials, usernames: [larry], addresses: [192.0.2.7], numbers: ["+12025550111"]}
      - business_name: Sleeping Beauty Hotels
        email: hotels@example.net
        status: disabled
        connections:
          - {name: Reception, kind: credentials, usernames: [reception], numbers: ["+12025550113"]}
`

const (
	sampleAddress = "http://127.0.0.1:8077"
	sampleToken   = "the-content-of-admission.token"
)

// sampled is a sample as it stands, but for the address and the token.
func sampled(t *testing.T, s *server, name string) string {
	t.Helper()
	text := deployFiles(t)[name]
	if strings.Count(text, sampleAddress) != 1 {
		t.Fatalf("%s does not name %s once", name, sampleAddress)
	}
	text = strings.Replace(text, sampleAddress, "http://"+s.address, 1)
	return strings.ReplaceAll(text, sampleToken, s.app.OperatorToken)
}

// postForm sends a form as a switch with basic authentication.
func postForm(t *testing.T, target, user, password, form string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "POST", target, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(user, password)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("%s: %d %s %v", target, response.StatusCode, body, err)
	}
	return string(body)
}

// TestDeployFreeSWITCH: what mod_xml_curl asks is understood, and the dialplan on disk
// lets nothing through.
func TestDeployFreeSWITCH(t *testing.T) {
	t.Parallel()
	s := start(t, []byte(switchesSeed))
	for _, name := range []string{"xml_curl.conf.xml", "lua.conf.xml", "dialplan.xml"} {
		if err := xml.Unmarshal([]byte(deployFiles(t)["freeswitch/"+name]), new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var configuration struct {
		Params []struct {
			Name     string `xml:"name,attr"`
			Value    string `xml:"value,attr"`
			Bindings string `xml:"bindings,attr"`
		} `xml:"bindings>binding>param"`
	}
	if err := xml.Unmarshal([]byte(sampled(t, s, "freeswitch/xml_curl.conf.xml")), &configuration); err != nil {
		t.Fatal(err)
	}
	params := map[string]string{}
	for _, p := range configuration.Params {
		params[p.Name] = p.Value
		if p.Bindings != "" && p.Bindings != "dialplan" {
			t.Errorf("%s is asked too", p.Bindings)
		}
	}
	user, password, _ := strings.Cut(params["gateway-credentials"], ":")
	ask := func(uuid, name, value string) string {
		t.Helper()
		form := url.Values{
			"hostname": {"fs1"}, "section": {"dialplan"}, "tag_name": {""}, "key_name": {""}, "key_value": {""}, "Event-Name": {"REQUEST_PARAMS"},
			"FreeSWITCH-Hostname": {"fs1"}, "FreeSWITCH-Switchname": {"fs1"}, "Channel-State": {"CS_ROUTING"}, "Call-Direction": {"inbound"},
			"Unique-ID": {uuid}, "Caller-Destination-Number": {"+12025550199"}, "Caller-Context": {"default"}, "Hunt-Context": {"default"},
			"variable_sip_network_ip": {"198.51.100.1"}, name: {value},
		}
		return postForm(t, params["gateway-url"], user, password, form.Encode())
	}
	const uuid = "3b1a2c4d-0000-4000-8000-00000000000"
	for _, x := range []struct{ name, value, want string }{
		{"variable_sip_auth_username", "larry", `<action application="park"/>`},
		{"variable_sip_network_ip", "192.0.2.7", `<action application="park"/>`},
		{"variable_sip_auth_username", "larry", `<action application="respond" data="403 User channel limit exceeded D1"/>`},
		{"variable_sip_auth_username", "reception", `<action application="respond" data="403 Account is disabled D17"/>`},
		{"variable_sip_auth_username", "stranger", `<action application="respond" data="403 Forbidden D25"/>`},
	} {
		call := uuid + fmt.Sprint(len(s.leases(t, "fs1")))
		if got := ask(call, x.name, x.value); !strings.Contains(got, x.want) {
			t.Errorf("%s %s: %s", x.name, x.value, got)
		}
	}
	if got := s.leases(t, "fs1"); len(got) != 2 || got[0] != uuid+"0" {
		t.Errorf("%v hold channels", got)
	}
	script := sampled(t, s, "freeswitch/tenantry.lua")
	if !strings.Contains(script, `admission .. "/leases/" .. uuid .. "/release"`) || !strings.Contains(script, `"http://`+s.address+`/admission/v1"`) {
		t.Error("tenantry.lua does not release")
	}
	if got := postForm(t, "http://"+s.address+"/admission/v1/leases/"+uuid+"0/release", user, password, ""); !strings.Contains(got, `"released":1`) {
		t.Error(got)
	}
	for _, action := range regexp.MustCompile(`application="[^"]*"(?: data="[^"]*")?`).FindAllString(deployFiles(t)["freeswitch/dialplan.xml"], -1) {
		if action != `application="respond" data="503 Service Unavailable"` {
			t.Errorf("without an answer: %s", action)
		}
	}
}

// leases are the calls of a switch that hold channels.
func (s *server) leases(t *testing.T, name string) (ids []string) {
	t.Helper()
	answer := s.connect(t).call(t, "GET", "/admission/v1/leases?switch="+name, s.app.OperatorToken, "")
	for _, match := range regexp.MustCompile(`"call_id":"(.*?)"`).FindAllSubmatch(answer.body, -1) {
		ids = append(ids, string(match[1]))
	}
	return ids
}

// TestDeployAsterisk: what CURL() asks is understood, and HASH() finds in the answer
// what the dialplan looks for.
func TestDeployAsterisk(t *testing.T) {
	t.Parallel()
	s := start(t, []byte(switchesSeed))
	dialplan := sampled(t, s, "asterisk/extensions.conf")
	variables := map[string]string{"SYSTEMNAME": "asterisk1"}
	for _, match := range regexp.MustCompile(`(?m)^(ADMISSION\w*)=(.*)$`).FindAllStringSubmatch(dialplan, -1) {
		variables[match[1]] = match[2]
	}
	expand := func(text string) string {
		text = regexp.MustCompile(`\$\{URIENCODE\(\$\{(\w+)\}\)\}`).ReplaceAllStringFunc(text, func(call string) string {
			return url.QueryEscape(variables[call[len("${URIENCODE(${"):len(call)-len("})}")]])
		})
		return os.Expand(text, func(name string) string { return variables[name] })
	}
	user, password, _ := strings.Cut(expand(regexp.MustCompile(`CURLOPT\(userpwd\)=(.*)\)`).FindStringSubmatch(dialplan)[1]), ":")
	curls := regexp.MustCompile(`(?m)=\$\{CURL\((.*),(.*?)\)\}\)$`).FindAllStringSubmatch(dialplan, -1)
	if len(curls) != 2 {
		t.Fatalf("%d questions", len(curls))
	}
	wanted := regexp.MustCompile(`HASH\(admission,(\w+)\)`).FindAllStringSubmatch(dialplan, -1)
	for i, x := range []struct{ direction, field, value, decision, code, phrase string }{
		{"outbound", "sip_username", "larry", "allow", "200", "OK"},
		{"outbound", "source_ip", "192.0.2.7", "allow", "200", "OK"},
		{"inbound", "number", "+12025550111", "allow", "200", "OK"},
		{"outbound", "sip_username", "larry", "deny", "403", "User channel limit exceeded D1"},
		{"outbound", "sip_username", "reception", "deny", "403", "Account is disabled D17"},
		{"inbound", "number", "+12025550113", "deny", "404", "Not found D19"},
	} {
		variables["ARG1"], variables["ARG2"], variables["ARG3"], variables["UNIQUEID"] = x.direction, x.field, x.value, fmt.Sprintf("asterisk1-179531%d.7", i)
		answer, err := url.ParseQuery(postForm(t, expand(curls[0][1]), user, password, expand(curls[0][2])))
		if err != nil || answer.Get("decision") != x.decision || answer.Get("sip_code") != x.code || answer.Get("sip_phrase") != x.phrase {
			t.Errorf("%v: %v %v", x, answer, err)
		}
		for _, field := range wanted {
			if !answer.Has(field[1]) && (field[1] != "limit" || x.field == "sip_username" && x.value == "larry") {
				t.Errorf("%v: there is no %s", x, field[1])
			}
		}
	}
	variables["UNIQUEID"] = "asterisk1-1795310.7"
	if got := postForm(t, expand(curls[1][1]), user, password, expand(curls[1][2])); !strings.Contains(got, `"released":1`) {
		t.Error(got)
	}
}

// TestDeployLive runs the scripts that list live calls, with programs in place of the
// switches' own that print what those print.
func TestDeployLive(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		missing(t, "the lists of live calls", "curl", err)
	}
	s := start(t, []byte(switchesSeed))
	folder := t.TempDir()
	header := filepath.Join(folder, "header")
	if err := os.WriteFile(header, []byte("Authorization: Bearer "+s.app.OperatorToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const uuid = "3b1a2c4d-0000-4000-8000-000000000001"
	for _, x := range []struct{ name, program, call, some, none string }{
		{"asterisk", "asterisk", "asterisk1-1795314261.7",
			"PJSIP/larry-00000007!users!+12025550199!2!Up!Dial!PJSIP/+12025550199@carrier!+12025550111!!!3!12!0b1c!asterisk1-1795314261.7", "0 active channels\n0 active calls\n8 calls processed"},
		{"freeswitch", "fs_cli", uuid,
			"uuid,direction,created,created_epoch,name,state\n" + uuid + ",inbound,2026-11-22 02:00:00,1795314261,sofia/internal/larry@example.com,CS_EXECUTE\n\n1 total.\n", "\n0 total.\n"},
	} {
		acquired := s.connect(t).call(t, "POST", "/admission/v1/check", s.app.OperatorToken,
			fmt.Sprintf(`{"kind":"call","sip_username":"larry","acquire":true,"call_id":"%s","switch":"%s"}`, x.call, x.name))
		if !strings.Contains(string(acquired.body), `"lease":`) {
			t.Fatalf("%s", acquired.body)
		}
		run := func(prints, exit string) (string, error) {
			t.Helper()
			bin := t.TempDir()
			if err := os.WriteFile(filepath.Join(bin, x.program), []byte("#!/bin/sh\ncat <<'END'\n"+prints+"\nEND\nexit "+exit+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			c := exec.CommandContext(t.Context(), filepath.Join(deployFolder, x.name, "live.sh"))
			c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "ADMISSION=http://"+s.address+"/admission/v1", "SWITCH="+x.name, "HEADER="+header)
			out, err := c.Output()
			return string(out), err
		}
		if out, err := run(x.some, "0"); err != nil || !strings.Contains(out, `"live":1,"ending":0`) {
			t.Errorf("%s with a call: %s %v", x.name, out, err)
		}
		for what, prints := range map[string]string{"nothing": "", "an error": "Unable to connect"} {
			for _, exit := range []string{"0", "1"} {
				if out, err := run(prints, exit); err == nil || out != "" {
					t.Errorf("%s prints %s, exit code %s: %s", x.name, what, exit, out)
				}
			}
		}
		if out, err := run(x.none, "0"); err != nil || !strings.Contains(out, `"live":0,"ending":1`) {
			t.Errorf("%s without calls: %s %v", x.name, out, err)
		}
	}
}
