//go:build unix

package app_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/client"
)

const kamailioSeed = `
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
          - {name: Office, kind: credentials, usernames: [larry], numbers: ["+12025550111"]}
          - {name: Trunk, kind: address, addresses: [%s]}
      - business_name: Example Company LLC
        email: busy@example.com
        balance: "300.00"
        channel_limit: 5
        connections:
          - {name: Office, kind: credentials, usernames: [busy]}
`

// sipNetwork is a piece of 127.0.0.0/8 of this test's own, so that every part may have
// the port of SIP at an address that nobody else takes.
type sipNetwork struct {
	prefix string
	next   int
}

func (n *sipNetwork) host(last int) string { return fmt.Sprintf("%s.%d", n.prefix, last) }

// fresh is where one more caller is.
func (n *sipNetwork) fresh() string {
	n.next++
	return n.sip(n.next)
}

func (n *sipNetwork) sip(last int) string { return n.host(last) + ":5060" }

// The parts that stand still; callers come from 20 on.
const (
	atTenantry = iota + 1
	atKamailio
	atCarrier // who calls from here calls a number
	atInside
	atTrunk   // of Larry's
	atUnknown // a trunk that Kamailio knows and Tenantry does not
)

// telephony is Tenantry, Kamailio with the sample configuration, and callees.
type telephony struct {
	*sipNetwork
	t        *testing.T
	folder   string // of Kamailio
	data     string // of Tenantry
	tenantry *served
	kamailio *exec.Cmd
	operator *client.Operator
	log      bytes.Buffer // of Kamailio
}

// until waits for something to become true outside.
func (x *telephony) until(what string, is func() bool) {
	x.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatalf("%s: never", what)
		}
	}
}

func (x *telephony) startTenantry() {
	x.t.Helper()
	x.tenantry = serve(x.t, x.data, "--listen", x.host(atTenantry)+":8077", "--lease-grace", "4s")
	x.operator = x.tenantry.operator(x.t, x.data)
}

// kamailioProgram is where Kamailio is: Debian keeps it off the PATH of users.
func kamailioProgram() string {
	if path, err := exec.LookPath("kamailio"); err == nil {
		return path
	}
	return "/usr/sbin/kamailio"
}

// checkKamailio has the configuration read, for which every module must be there.
func (x *telephony) checkKamailio() {
	x.t.Helper()
	c := exec.CommandContext(x.t.Context(), kamailioProgram(), "-c", "-m", "16", "-M", "8", "-f", filepath.Join(x.folder, "kamailio.cfg"))
	c.Dir = x.folder
	out, err := c.CombinedOutput()
	switch {
	case err == nil:
	case bytes.Contains(out, []byte("could not find module <http_client>")):
		missing(x.t, "Kamailio", "its module http_client (kamailio-utils-modules)", err)
	default:
		x.t.Fatalf("kamailio -c: %v\n%s", err, out)
	}
}

// startKamailio runs the sample configuration, whose local.cfg alone is the test's.
func (x *telephony) startKamailio() {
	x.t.Helper()
	x.kamailio = exec.CommandContext(x.t.Context(), kamailioProgram(), "-DD", "-E", "-m", "16", "-M", "8", "-f", filepath.Join(x.folder, "kamailio.cfg"))
	x.kamailio.Dir, x.kamailio.Stdout, x.kamailio.Stderr = x.folder, &x.log, &x.log
	inGroup(x.kamailio)
	if err := x.kamailio.Start(); err != nil {
		x.t.Fatal(err)
	}
	process := x.kamailio
	x.t.Cleanup(func() { killGroup(process) })
	options := "OPTIONS sip:" + x.host(atKamailio) + " SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d\r\nFrom: <sip:test@example.com>;tag=1\r\n" +
		"To: <sip:test@example.com>\r\nCall-ID: %[2]d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
	socket, err := net.Dial("udp", x.sip(atKamailio))
	if err != nil {
		x.t.Fatal(err)
	}
	defer socket.Close()
	x.until("Kamailio answers", func() bool {
		fmt.Fprintf(socket, options, socket.LocalAddr(), rand.Int64())
		socket.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := socket.Read(make([]byte, 4096))
		return err == nil && n > 0
	})
}

// killGroup leaves nothing of a process and its children.
func killGroup(c *exec.Cmd) {
	syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	c.Wait()
}

// configure writes local.cfg with the values of this test in place of the sample's,
// and the tables.
func (x *telephony) configure() {
	x.t.Helper()
	token, err := os.ReadFile(filepath.Join(x.data, "admission.token"))
	if err != nil {
		x.t.Fatal(err)
	}
	files := deployFiles(x.t)
	local := files["kamailio/local.cfg"]
	set := func(pattern, value string) {
		x.t.Helper()
		line := regexp.MustCompile(`(?m)^` + pattern)
		if len(line.FindAllString(local, -1)) != 1 {
			x.t.Fatalf("local.cfg has not one line %s", pattern)
		}
		local = line.ReplaceAllLiteralString(local, value)
	}
	set(`listen=.*$`, "listen=udp:"+x.sip(atKamailio))
	for name, value := range map[string]string{
		"ADMISSION_HOST": x.host(atTenantry) + ":8077", "ADMISSION_TOKEN": strings.TrimSpace(string(token)), "LIVE_INTERVAL": "1",
		"CARRIER": "sip:" + x.sip(atCarrier), "INSIDE": "sip:" + x.sip(atInside),
		"DATABASE": "text://" + filepath.Join(x.folder, "tables"),
	} {
		set(`#!substdef "!`+name+`!.*$`, `#!substdef "!`+name+"!"+value+`!g"`)
	}
	var users strings.Builder
	for i, user := range []string{"larry", "busy", "stranger"} {
		fmt.Fprintf(&users, "%d:%s:sip.example.com:-:%x:-\n", i+1, user, md5.Sum([]byte(user+":sip.example.com:secret")))
	}
	for name, text := range map[string]string{
		"kamailio.cfg": files["kamailio/kamailio.cfg"], "local.cfg": local,
		"tables/version":    "id(int,auto) table_name(string) table_version(int)\n1:subscriber:7\n2:address:6\n3:trusted:6\n",
		"tables/subscriber": "id(int,auto) username(string) domain(string) password(string) ha1(string) ha1b(string)\n" + users.String(),
		"tables/address": "id(int,auto) grp(int) ip_addr(string) mask(int) port(int) tag(string,null)\n" +
			fmt.Sprintf("1:1:%s:32:0:\n2:2:%s:32:0:\n3:2:%s:32:0:\n", x.host(atCarrier), x.host(atTrunk), x.host(atUnknown)),
	} {
		path := filepath.Join(x.folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			x.t.Fatal(err)
		}
	}
}

// caller is one run of sipp.
type caller struct {
	x             *telephony
	address, name string
	id            string // Call-ID
	trace         string // a file with the messages
	cmd           *exec.Cmd
	done          chan struct{} // closed when it has ended
}

// sipp starts a scenario of test/kamailio at an address with its port.
func (x *telephony) sipp(address, scenario string, flags ...string) *caller {
	x.t.Helper()
	file, err := filepath.Abs("../../test/kamailio/" + scenario + ".xml")
	if err != nil {
		x.t.Fatal(err)
	}
	c := &caller{x: x, address: address, name: scenario, trace: filepath.Join(x.folder, fmt.Sprintf("%s-%d.log", scenario, rand.Int64())), done: make(chan struct{})}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		x.t.Fatal(err)
	}
	c.cmd = exec.CommandContext(x.t.Context(), "sipp", append([]string{
		"-sf", file, "-i", host, "-p", port, "-nostdin", "-trace_msg", "-message_file", c.trace, "-message_overwrite", "true",
	}, flags...)...)
	c.cmd.Dir = x.folder
	inGroup(c.cmd)
	if err := c.cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	go func() { c.cmd.Wait(); close(c.done) }()
	x.t.Cleanup(func() { <-c.done })
	return c
}

// dial calls a number as a user from an address, "" for one that nobody knows.
func (x *telephony) dial(scenario, address, user, number string, flags ...string) *caller {
	x.t.Helper()
	if address == "" {
		address = x.fresh()
	}
	id := fmt.Sprintf("%d@%s", rand.Int64(), address)
	c := x.sipp(address, scenario, append([]string{
		x.sip(atKamailio), "-m", "1", "-key", "user", user, "-key", "number", number, "-au", user, "-ap", "secret", "-cid_str", "%u-" + id,
	}, flags...)...)
	c.id = "1-" + id
	return c
}

// messages are all that sipp has sent and received so far.
func (c *caller) messages() string {
	text, err := os.ReadFile(c.trace)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.x.t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r", "")
}

// got waits until so many lines of the messages begin so.
func (c *caller) got(line string, n int) {
	c.x.t.Helper()
	is := func() bool { return strings.Count(c.messages(), "\n"+line) >= n }
	c.x.until("a message "+line, func() bool {
		select {
		case <-c.done:
			if !is() {
				c.x.t.Fatalf("%s ended without %q:\n%s", c.name, line, c.messages())
			}
		default:
		}
		return is()
	})
}

// poke tells the caller to do what its scenario does at a message. It may be lost on
// one that is not yet waiting for it.
func (c *caller) poke(method string) {
	c.x.t.Helper()
	socket, err := net.Dial("udp", c.address)
	if err != nil {
		c.x.t.Fatal(err)
	}
	defer socket.Close()
	fmt.Fprintf(socket, "%s sip:test@example.com SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d\r\nFrom: <sip:test@example.com>;tag=1\r\n"+
		"To: <sip:test@example.com>;tag=2\r\nCall-ID: %s\r\nCSeq: 9 %[1]s\r\nContent-Length: 0\r\n\r\n", method, socket.LocalAddr(), rand.Int64(), c.id)
}

// connected waits until the call is answered, and its caller has said so.
func (c *caller) connected() {
	c.x.t.Helper()
	c.got("SIP/2.0 200 OK", 1)
	c.x.until("an ACK", func() bool {
		_, after, _ := strings.Cut(c.messages(), "\nSIP/2.0 200 OK")
		return strings.Contains(after, "\nACK sip:")
	})
}

// talk waits until the call is answered, and both ends have exchanged something.
func (c *caller) talk() *caller {
	c.x.t.Helper()
	c.connected()
	updates := func() int { return strings.Count(c.messages(), " UPDATE\n") }
	before := updates()
	c.poke("INFO")
	c.x.until("the other end answers", func() bool { return updates() >= before+2 }) // the question and the answer
	return c
}

// answered reports whether the call is, and hangs up.
func (c *caller) answered() bool {
	c.x.t.Helper()
	c.x.until("an answer", func() bool {
		select {
		case <-c.done:
			return true
		default:
			return strings.Contains(c.messages(), "\nSIP/2.0 200 OK")
		}
	})
	if !strings.Contains(c.messages(), "\nSIP/2.0 200 OK") {
		return false
	}
	c.hangUp()
	return true
}

// end is what the call was answered with at last.
func (c *caller) end() string {
	c.x.t.Helper()
	select {
	case <-c.done:
	case <-time.After(40 * time.Second):
		c.x.t.Fatalf("%s does not end:\n%s", c.name, c.messages())
	}
	last := ""
	for _, match := range regexp.MustCompile(`(?m)^SIP/2\.0 ([2-6].*)$`).FindAllStringSubmatch(c.messages(), -1) {
		last = match[1]
	}
	return last
}

// hangUp ends a call as its caller does, which has to go well.
func (c *caller) hangUp() {
	c.x.t.Helper()
	c.connected()
	c.poke("MESSAGE")
	if last := c.end(); last != "200 OK" || !strings.Contains(c.messages(), "\nCSeq: 4 BYE\n") || strings.Contains(c.messages(), "\nBYE sip:larry") {
		c.x.t.Fatalf("a call ended with %q, not by its own BYE:\n%s", last, c.messages())
	}
}

// refused wants a new call to be answered so.
func (x *telephony) refused(want, address, user, number string) {
	x.t.Helper()
	c := x.dial("caller", address, user, number)
	if got := c.end(); got != want {
		x.t.Fatalf("a call of %s to %s: %q, not %q\n%s", user, number, got, want, c.messages())
	}
}

// leases are the calls of Kamailio's that hold channels.
func (x *telephony) leases() []string {
	x.t.Helper()
	list, err := x.operator.ListLeases(x.t.Context(), client.LeaseList{Switch: "kamailio1"})
	if err != nil {
		x.t.Fatal(err)
	}
	ids := []string{}
	for _, lease := range list.Data {
		ids = append(ids, lease.CallID)
	}
	return ids
}

func (x *telephony) holding(n int) {
	x.t.Helper()
	x.until(fmt.Sprintf("%d calls hold channels", n), func() bool { return len(x.leases()) == n })
}

// manager runs the vendor's SDK.
func (x *telephony) manager(key, action, id string) {
	x.t.Helper()
	ctx, stop := context.WithTimeout(x.t.Context(), time.Minute)
	defer stop()
	c := exec.CommandContext(ctx, "node", "switch.mjs", action, id)
	c.Dir = "../../test/node"
	c.Env = append(os.Environ(), "TELNYX_BASE_URL="+x.tenantry.url+"/v2", "TELNYX_API_KEY="+key)
	inGroup(c)
	if out, err := c.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != action+"d" {
		x.t.Fatalf("%s with the SDK: %v\n%s", action, err, out)
	}
}

// TestKamailio: deploy/kamailio, run by the real Kamailio, refuses what Tenantry
// refuses, lets running calls be, and gives back what they held.
func TestKamailio(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Kamailio, sipp, Node and half a minute")
	}
	t.Parallel()
	for _, program := range []string{kamailioProgram(), "sipp", "node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "Kamailio", program, err)
		}
	}
	node, err := filepath.Abs("../../test/node")
	if err != nil {
		t.Fatal(err)
	}
	installNode(t, "Kamailio", node)
	x := &telephony{
		t: t, folder: t.TempDir(), data: t.TempDir(),
		sipNetwork: &sipNetwork{fmt.Sprintf("127.%d.%d", 1+rand.IntN(254), 1+rand.IntN(254)), 20},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Kamailio:\n%s", &x.log)
		}
	})
	s := newServer()
	if err := s.open(x.data, fmt.Appendf(nil, kamailioSeed, x.host(atTrunk))); err != nil {
		t.Fatal(err)
	}
	key, larry := s.keys["manager@example.com"], s.ids["larry@example.com"]
	if err := s.app.Close(); err != nil {
		t.Fatal(err)
	}
	x.startTenantry()
	x.configure()
	x.checkKamailio()
	x.startKamailio()
	x.sipp(x.sip(atCarrier), "callee")
	x.sipp(x.sip(atInside), "callee")
	const there, busyThere, ringing, ours = "+12025550199", "+12025550486", "+12025550180", "+12025550111"
	dial := func() *caller { t.Helper(); return x.dial("caller", "", "larry", there) }

	// Admitted, completed, released; by user, by address and by number.
	first := dial().talk()
	x.holding(1)
	first.hangUp()
	x.holding(0)
	x.dial("caller", x.sip(atTrunk), "anybody", there).talk().hangUp()
	x.dial("caller", x.host(atCarrier)+":5070", "somebody", ours).talk().hangUp()
	x.refused("403 Forbidden D25", "", "stranger", there)
	x.refused("403 Forbidden D25", x.sip(atUnknown), "larry", there)
	x.refused("404 Not found", x.host(atCarrier)+":5070", "somebody", "+12025550122")
	x.holding(0)

	// No more than the limit, though the calls come from different phones; then the next.
	first, second := dial().talk(), dial().talk()
	x.refused("403 User channel limit exceeded D1", "", "larry", there)
	first.hangUp()
	x.holding(1)
	dial().talk().hangUp()
	second.hangUp()

	// Given back by a call that came to nothing.
	x.refused("486 Busy Here", "", "larry", busyThere)
	x.holding(0)
	first = x.dial("cancel", "", "larry", ringing)
	first.got("SIP/2.0 180", 1)
	x.holding(1)
	first.poke("MESSAGE")
	if got := first.end(); got != "487 Request Terminated" {
		t.Errorf("a call that was given up ended with %q", got)
	}
	x.holding(0)

	// Disabled while a call runs.
	first = dial().talk()
	x.manager(key, "disable", larry)
	x.refused("403 Account is disabled D17", "", "larry", there)
	x.refused("403 Account is disabled D17", x.sip(atTrunk), "larry", there)
	x.refused("404 Not found D19", x.host(atCarrier)+":5070", "somebody", ours)
	first.talk().hangUp()
	x.holding(0)
	x.manager(key, "enable", larry)
	dial().talk().hangUp()

	// Tenantry hangs, dies and comes back.
	first = dial().talk()
	x.tenantry.cmd.Process.Signal(syscall.SIGSTOP)
	second = x.dial("cancel", "", "larry", there)
	second.got("SIP/2.0 100", 1)
	second.poke("MESSAGE")
	if got := second.end(); !strings.HasPrefix(got, "487 ") { // in Kamailio's words or in the script's
		t.Errorf("a call that was given up before there was an answer ended with %q", got)
	}
	x.refused("503 Service Unavailable", "", "larry", there)
	first.talk()
	x.tenantry.cmd.Process.Signal(syscall.SIGKILL)
	x.tenantry.cmd.Wait()
	x.refused("503 Service Unavailable", "", "larry", there)
	first.talk().hangUp()
	x.startTenantry()
	x.holding(0)
	x.until("calls go again", func() bool { return dial().answered() })

	// Kamailio dies, and with it a call; what lives afterwards stays.
	x.holding(0)
	dead := dial().talk()
	killGroup(x.kamailio)
	syscall.Kill(-dead.cmd.Process.Pid, syscall.SIGKILL)
	lost := x.leases()
	x.startKamailio()
	first = dial().talk()
	x.refused("403 User channel limit exceeded D1", "", "larry", there)
	x.until("the dead call has given its channel back", func() bool {
		now := x.leases()
		return len(now) == 1 && now[0] != lost[0]
	})
	second = dial().talk()
	first.talk().hangUp()
	second.hangUp()
	x.holding(0)

	// Many at once: never more than the limit.
	burst := x.dial("burst", "", "busy", there, "-m", "200", "-r", "50", "-d", "200")
	most := 0
	x.until("the burst is over", func() bool {
		most = max(most, len(x.leases()))
		select {
		case <-burst.done:
			return true
		default:
			return false
		}
	})
	x.holding(0)
	through, refused := strings.Count(burst.messages(), "\nBYE "), strings.Count(burst.messages(), "\nSIP/2.0 403 User channel limit exceeded D1\n")
	if most != 5 || through < 10 || refused < 10 || through+refused < 200 {
		t.Errorf("at most %d calls held channels, %d went through and %d were refused", most, through, refused)
	}
	t.Logf("at most %d of 5 channels, %d calls went through and %d were refused", most, through, refused)

	// The one line that lets calls through when there is no answer.
	killGroup(x.kamailio)
	x.tenantry.cmd.Process.Kill()
	x.tenantry.cmd.Wait()
	local := filepath.Join(x.folder, "local.cfg")
	text, err := os.ReadFile(local)
	if err != nil {
		t.Fatal(err)
	}
	open := strings.Replace(string(text), "\n##!define FAIL_OPEN\n", "\n#!define FAIL_OPEN\n", 1)
	if err := os.WriteFile(local, []byte(open), 0o600); err != nil || open == string(text) {
		t.Fatalf("local.cfg has no FAIL_OPEN: %v", err)
	}
	x.startKamailio()
	dial().talk().hangUp()
}
