package portal

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

//go:embed templates
var templates embed.FS

// pages are the templates by name, each with the layout around it.
type pages map[string]*template.Template

// page is an answer with HTML.
type page struct {
	template string
	title    string
	data     any
	status   int // 0 means 200, or what the problem of the form is
}

// redirect is an answer that sends the browser elsewhere, with a GET.
type redirect struct {
	to string
	// notice is shown by the page that comes next.
	notice string
	bad    bool
}

// download is a file that is written as it is made.
type download struct {
	name        string
	contentType string
	write       func(io.Writer) error
}

// notice is a line at the top of a page, once.
type notice struct {
	Text string
	Bad  bool `json:",omitempty"`
}

// problem is what was wrong with a form.
type problem struct {
	status int
	// field is the name of what was wrong, "" for nothing in particular.
	field, text string
	// placed says that the page has a place for it, beside the field.
	placed bool
}

// frame is what the layout shows.
type frame struct {
	*visit
	Product, Title string
	Menu           []item
	Notice         *notice
	CSS, JS, Icon  string
	Data           any
}

// On is the frame as one of several forms of a page sees it: what was wrong with another
// is none of its business. The name is the route's that the form asks for.
func (f frame) On(route string) frame {
	if f.visit.route.Name != route {
		other := *f.visit
		other.problem = nil
		f.visit = &other
	}
	return f
}

// Problem is what is wrong with a field of the form, "" for nothing.
func (f frame) Problem(field string) string {
	if f.visit.problem != nil && f.visit.problem.field == field {
		f.visit.problem.placed = true
		return f.visit.problem.text
	}
	return ""
}

// Value is what was entered in a field of a form that is shown again, or else what
// stands there at first.
func (f frame) Value(field, first string) string {
	if f.visit.problem != nil && f.PostForm.Has(field) {
		return f.PostForm.Get(field)
	}
	return first
}

// Ticked is the same for a box with that value.
func (f frame) Ticked(field, value string, first bool) bool {
	if f.visit.problem == nil {
		return first
	}
	for _, v := range f.PostForm[field] {
		if v == value {
			return true
		}
	}
	return false
}

// Signed reports whether anybody has signed in.
func (f frame) Signed() bool { return f.visit.in != nil || f.visit.operator != nil }

// Operator reports whether the operator has.
func (f frame) Operator() bool { return f.visit.operator != nil }

// Can reports whether who asks can do an action.
func (f frame) Can(action string) bool {
	return f.visit.in != nil && Need(action).allows(f.visit.actor)
}

// Email is whose session it is.
func (f frame) Email() string {
	if f.visit.in == nil {
		return "of this installation"
	}
	return f.visit.in.User.Email
}

// Organization is where that user belongs.
func (f frame) Organization() string {
	if f.visit.in == nil {
		return "Operator"
	}
	return f.visit.in.Account.OrganizationName
}

// Acting is who acts as the owner, "" for a session in person.
func (f frame) Acting() string {
	if f.visit.in == nil || f.visit.in.Person == nil {
		return ""
	}
	return f.visit.in.Person.Email
}

// Reason and Until are of a session as somebody else's owner.
func (f frame) Reason() string { return f.visit.in.Reason }

// Until is when it ends.
func (f frame) Until() time.Time { return f.visit.in.ExpiresAt }

// PathID is the id in the path.
func (f frame) PathID() string { return f.PathValue("id") }

// RequestID is the request's.
func (f frame) RequestID() string { return f.visit.requestID }

func (p *Portal) loadPages() (pages, error) {
	functions := template.FuncMap{
		"time": moment, "ago": func(t time.Time) string { return ago(p.source.Now(), t) },
		"money": money, "cause": cause,
		"count": count, "path": func(parts ...string) string { return path.Join(parts...) },
		"percent": percent, "event": eventText, "words": words, "join": strings.Join,
		"args": func(pairs ...any) (map[string]any, error) {
			if len(pairs)%2 != 0 {
				return nil, errors.New("args wants pairs")
			}
			m := map[string]any{}
			for i := 0; i < len(pairs); i += 2 {
				m[pairs[i].(string)] = pairs[i+1]
			}
			return m, nil
		},
		"amount": tenant.FormatMoney, "text": func(v any) string { return fmt.Sprint(v) },
		"hours":  func(minutes int64) string { return plural(minutes/60, "hour") },
		"linked": linked, "short": short, "groups": groupNames, "set": set,
		// Neighbours of the picture of a pool differ.
		"shade": func(i int) int { return i % 3 },
	}
	layout, err := template.New("layout").Funcs(functions).ParseFS(templates, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	entries, err := templates.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	all := pages{}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		one, err := layout.Clone()
		if err == nil {
			_, err = one.ParseFS(templates, "templates/"+entry.Name())
		}
		if err != nil {
			return nil, err
		}
		all[name] = one
	}
	return all, nil
}

func (p *Portal) write(v *visit, answer any) error {
	switch answer := answer.(type) {
	case page:
		return p.writePage(v, answer)
	case redirect:
		if answer.notice != "" {
			remember(v.w, noticeCookie, encodeNotice(notice{answer.notice, answer.bad}), time.Minute)
		}
		v.status = http.StatusSeeOther
		v.w.Header().Set("Location", answer.to)
		v.w.WriteHeader(v.status)
		return nil
	case download:
		return p.writeDownload(v, answer)
	case asset:
		return answer.write(v)
	}
	return fmt.Errorf("a page answered %T", answer)
}

func (p *Portal) writePage(v *visit, answer page) error {
	f := frame{
		visit: v, Product: p.options.Product, Title: answer.title, Menu: menuOf(v, v.URL.Path),
		CSS: p.assets.path("style.css"), JS: p.assets.path("portal.js"), Icon: p.assets.path("mark.svg"), Data: answer.data,
	}
	if text := cookie(v.Request, noticeCookie); text != "" {
		f.Notice = decodeNotice(text)
		forget(v.w, noticeCookie)
	}
	switch {
	case answer.status != 0:
		v.status = answer.status
	case v.problem != nil:
		v.status = v.problem.status
		if v.problem.field == "" {
			f.Notice = &notice{v.problem.text, true}
		}
	}
	one, ok := p.pages[answer.template]
	if !ok {
		return fmt.Errorf("there is no page %s", answer.template)
	}
	var b bytes.Buffer
	err := one.ExecuteTemplate(&b, "layout", f)
	if err == nil && v.problem != nil && v.problem.field != "" && !v.problem.placed {
		f.Notice = &notice{v.problem.text, true}
		b.Reset()
		err = one.ExecuteTemplate(&b, "layout", f)
	}
	if err != nil {
		return err
	}
	body := b.Bytes()
	if who := v.person(); who != "" {
		body = changingForm.ReplaceAll(body, []byte(`$0<input type="hidden" name="`+shownField+`" value="`+who+`">`))
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(streamPause))
	v.w.WriteHeader(v.status)
	v.w.Write(body)
	return nil
}

// changingForm is the tag of a form. What stands in the attributes is escaped: no > ends
// it before its time.
var changingForm = regexp.MustCompile(`<form [^>]*method="post"[^>]*>`)

// streamPause is how long a reader of a download may take over one buffer.
const streamPause = 30 * time.Second

func (p *Portal) writeDownload(v *visit, answer download) error {
	h := v.w.Header()
	h.Set("Content-Type", answer.contentType)
	h.Set("Content-Disposition", `attachment; filename="`+answer.name+`"`)
	if v.Method == http.MethodHead {
		return nil
	}
	// A reader may take hours, and the session be ended meanwhile.
	out := &pausing{w: v.w, control: http.NewResponseController(v.w), still: func() error { return p.admit(v) }}
	err := answer.write(out)
	if err == nil {
		err = out.flush()
	}
	if err == nil {
		return nil
	}
	if !out.began {
		h.Del("Content-Disposition")
		return err
	}
	// Only a broken connection says that this is half of it.
	if v.Context().Err() == nil && !out.lost {
		p.log.Error("a download broke off", "request_id", v.requestID, "page", v.route.Name, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// pausing gathers 64 KiB at a time and gives the reader time for each.
type pausing struct {
	w       http.ResponseWriter
	control *http.ResponseController
	still   func() error // whether it may go on
	buffer  []byte
	began   bool
	lost    bool // the reader
}

func (w *pausing) Write(b []byte) (int, error) {
	w.buffer = append(w.buffer, b...)
	if len(w.buffer) < 64<<10 {
		return len(b), nil
	}
	return len(b), w.flush()
}

func (w *pausing) flush() error {
	if err := w.still(); err != nil {
		w.lost = w.began // nobody is at fault
		return err
	}
	w.began = true
	w.control.SetWriteDeadline(time.Now().Add(streamPause))
	_, err := w.w.Write(w.buffer)
	w.buffer = w.buffer[:0]
	w.lost = err != nil
	return err
}

// again shows a page once more with what was wrong, where the visitor can mend it.
func (p *Portal) again(v *visit, err error, show func(*Portal, *visit) (any, error)) (any, error) {
	refused, ok := errors.AsType[*tenant.Error](err)
	if !ok || refused.Kind == tenant.NotFound || refused.Parameter == "Cookie" || p.options.Status(refused.Kind) >= 500 {
		return nil, err
	}
	v.problem = &problem{status: p.options.Status(refused.Kind), text: refused.Error()}
	if field := strings.TrimPrefix(refused.Pointer, "/"); field != "" {
		field, _, _ = strings.Cut(field, "/")
		if v.PostForm.Has(field) {
			v.problem.field = field
		}
	}
	if v.problem.status == http.StatusUnauthorized {
		v.problem.status = http.StatusUnprocessableEntity // the session is good, what was entered is not
	}
	return show(p, v)
}

func encodeNotice(n notice) string {
	text, _ := json.Marshal(n) // a struct of texts always encodes
	return base64.RawURLEncoding.EncodeToString(text)
}

func decodeNotice(text string) *notice {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	n := &notice{}
	if err != nil || json.Unmarshal(raw, n) != nil || n.Text == "" || len(n.Text) > 1000 {
		return nil
	}
	return n
}

// moment is a time for people, and for the script that puts it into theirs.
func moment(t time.Time) template.HTML {
	if t.IsZero() {
		return `<span class="muted">never</span>`
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2006-01-02 15:04") + ` UTC</time>`)
}

func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// count is a number with its thousands apart.
func count(n any) string {
	text := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "−", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return sign + text
}

// money is an amount with its thousands apart, and what it is in.
func money(minor int64, currency string) string {
	whole, cents, _ := strings.Cut(tenant.FormatMoney(minor), ".")
	return count(whole) + "." + cents + " " + currency
}

// percent is how much of a whole a part is, from 0 to 100.
func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return min(100, int64(float64(part)/float64(whole)*100+0.5))
}

// words is a name of the wire's as people read it.
func words(name any) string { return strings.ReplaceAll(fmt.Sprint(name), "_", " ") }

// cause is a reason why an account cannot use services, as people read it.
func cause(name string) string {
	text, known := map[string]string{
		tenant.CauseCancelled: "it is cancelled", tenant.CauseBlocked: "the operator blocked it", tenant.CauseDisabled: "its manager disabled it",
		tenant.CauseManagerCancelled: "its manager is cancelled", tenant.CauseManagerBlocked: "the operator blocked its manager",
	}[name]
	if !known {
		return words(name)
	}
	return text
}

// plural is a number of things.
func plural(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return count(n) + " " + thing
}

// set is a list to look things up in.
func set(lists ...[]string) map[string]bool {
	all := map[string]bool{}
	for _, list := range lists {
		for _, one := range list {
			all[one] = true
		}
	}
	return all
}

// mostShown is how much of a list stands in one place of a page.
const mostShown = 10

// short is the beginning of several lists, one after the other.
func short(lists ...[]string) string {
	all := slices.Concat(lists...)
	if len(all) > mostShown {
		return strings.Join(all[:mostShown], ", ") + " and " + count(len(all)-mostShown) + " more"
	}
	return strings.Join(all, ", ")
}

// groupNames are the first of a user's groups.
func groupNames(groups []tenant.Group) string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Name
	}
	return short(names)
}

// linked is a text whose links, each on a line of its own, can be followed.
func linked(text string) template.HTML {
	var b strings.Builder
	for line := range strings.Lines(text) {
		shown := template.HTMLEscapeString(line)
		if u, err := url.Parse(strings.TrimSpace(line)); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
			shown = `<a href="` + template.HTMLEscapeString(u.String()) + `">` + shown + `</a>`
		}
		b.WriteString(shown)
	}
	return template.HTML(b.String())
}

// eventText is an event of the audit log as people read it.
func eventText(event string) string {
	of, what, _ := strings.Cut(event, ".")
	return words(of) + ": " + words(what)
}

// local is a path of this portal that somebody may be sent to, or the front page: no
// address of anywhere else comes out of it.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, Prefix) ||
		strings.ContainsAny(next, "\\\r\n\t") || within(u.Path, signOnAskPath) || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") {
		return Prefix
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}
