package portal

import (
	"io"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/internal/csvfile"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const accountsPath = Prefix + "accounts"

var accountRoutes = []Route{
	{"accounts", "GET " + accountsPath, Managers, (*Portal).accounts},
	{"export accounts", "GET " + accountsPath + ".csv", Managers, (*Portal).exportAccounts},
	{"new account", "GET " + accountsPath + "/new", Managers, (*Portal).newAccount},
	{"create account", "POST " + accountsPath + "/new", Managers, (*Portal).createAccount},
	{"account", "GET " + accountsPath + "/{id}", Managers, (*Portal).account},
	{"account audit log", "GET " + accountsPath + "/{id}/audit", Managers, (*Portal).accountAudit},
	{"disable account", "POST " + accountsPath + "/{id}/disable", Managers, (*Portal).disable},
	{"enable account", "POST " + accountsPath + "/{id}/enable", Managers, (*Portal).enable},
	{"show credentials", "POST " + accountsPath + "/{id}/credentials", Managers, (*Portal).credentials},
	{"set channel limit", "POST " + accountsPath + "/{id}/channels", Managers, (*Portal).setChannels},
	{"set pricing", "POST " + accountsPath + "/{id}/pricing", Managers, (*Portal).setPricing},
	{"sign in as", "POST " + accountsPath + "/{id}/sign-in-as", ManagersInPerson, (*Portal).signInAs},
}

func accountPath(id string) string { return accountsPath + "/" + url.PathEscape(id) }

// list is a list as its URL asks for it.
type list struct {
	path         string
	Query        string
	Status, Sort string
	Page, Size   int64
	Total        int64
}

const (
	pageSize = 50
	// mostPage keeps a page below 100 KB.
	mostPage = 100
)

// listOf reads what the URL asks for; what nobody would ask for is taken as not asked.
func listOf(v *visit, statuses, sorts []string) *list {
	l := &list{path: v.URL.Path, Query: v.query("q"), Status: v.query("status"), Sort: v.query("sort"), Page: 1, Size: pageSize}
	if !slices.Contains(statuses, l.Status) {
		l.Status = ""
	}
	if !slices.Contains(sorts, l.Sort) {
		l.Sort = ""
	}
	if n, err := strconv.ParseInt(v.query("page"), 10, 64); err == nil && n > 0 && n < 1<<40 {
		l.Page = n
	}
	if n, err := strconv.ParseInt(v.query("size"), 10, 64); err == nil && n > 0 && n <= mostPage {
		l.Size = n
	}
	return l
}

func (l *list) page(v *visit) service.Page {
	return service.Page{Number: l.Page, Size: l.Size, Reader: v.actor.CredentialID}
}

// Pages is how many there are.
func (l *list) Pages() int64 { return (l.Total + l.Size - 1) / l.Size }

// First and Last are what this page shows, counted from 1.
func (l *list) First() int64 { return min((l.Page-1)*l.Size+1, l.Total) }

// Last is the number of the last one on this page.
func (l *list) Last() int64 { return min(l.Page*l.Size, l.Total) }

// Previous and Next are pages, "" for none.
func (l *list) Previous() string {
	if l.Page <= 1 {
		return ""
	}
	return l.With("page", strconv.FormatInt(min(l.Page-1, max(l.Pages(), 1)), 10))
}

// Next is the page after this one.
func (l *list) Next() string {
	if l.Page >= l.Pages() {
		return ""
	}
	return l.With("page", strconv.FormatInt(l.Page+1, 10))
}

// beyond leads from a page after the last one to that.
func (l *list) beyond() (to redirect, is bool) {
	if last := l.Pages(); l.Total > 0 && l.Page > last {
		return redirect{to: l.With("page", strconv.FormatInt(last, 10))}, true
	}
	return to, false
}

// With is the same list with another value of one parameter; another page only where
// that is the parameter.
func (l *list) With(name, value string) string { return l.path + l.Parameters(name, value) }

// Parameters are those of With.
func (l *list) Parameters(name, value string) string {
	q := url.Values{}
	set := func(k, v, usual string) {
		if v != usual {
			q.Set(k, v)
		}
	}
	set("q", l.Query, "")
	set("status", l.Status, "")
	set("sort", l.Sort, "")
	set("size", strconv.FormatInt(l.Size, 10), strconv.Itoa(pageSize))
	q.Del(name)
	set(name, value, "")
	if name == "page" && value == "1" {
		q.Del("page")
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

var (
	accountStatuses = []string{"all", "enabled", "disabled", "blocked", "cancelled"}
	accountSorts    = []string{"created_at", "email", "-email"}
)

// accountFilter is what the use cases want for a list.
func accountFilter(l *list) service.AccountFilter {
	return service.AccountFilter{
		Contains: l.Query, Status: l.Status,
		ByEmail: l.Sort == "email" || l.Sort == "-email", Ascending: l.Sort == "email" || l.Sort == "created_at",
	}
}

type accountList struct {
	*list
	Statuses []string
	Accounts []service.Account
	// Export is where the same list is as a file, Path where the accounts' pages are.
	Export, Path string
}

func (p *Portal) accounts(v *visit) (any, error) {
	l := listOf(v, accountStatuses, accountSorts)
	if tenant.IsUUID(l.Query) {
		if _, err := p.service.ManagedAccount(v.Context(), v.actor, l.Query); err == nil {
			return redirect{to: accountPath(l.Query)}, nil
		}
	}
	accounts, place, err := p.service.ManagedAccounts(v.Context(), v.actor, accountFilter(l), l.page(v))
	if err != nil {
		return nil, err
	}
	l.Total = place.Total
	if to, is := l.beyond(); is {
		return to, nil
	}
	return page{template: "accounts", title: "Accounts", data: accountList{
		list: l, Statuses: accountStatuses, Accounts: accounts, Export: accountsPath + ".csv" + l.Parameters("page", ""), Path: accountsPath,
	}}, nil
}

func (p *Portal) exportAccounts(v *visit) (any, error) {
	filter := accountFilter(listOf(v, accountStatuses, accountSorts))
	return download{"accounts.csv", "text/csv; charset=utf-8", func(w io.Writer) error {
		io.WriteString(w, "id,email,organization_name,status,created_at,updated_at,balance,credit_limit,currency,rollup_billing,channel_limit\n")
		var row []byte
		return p.service.EachManagedAccount(v.Context(), v.actor, filter, func(a *service.Account) error {
			row = csvfile.AppendCell(row[:0], a.ID)
			for _, cell := range []string{a.Email, a.OrganizationName, string(a.Status()), a.CreatedAt.Format(time.RFC3339), a.UpdatedAt.Format(time.RFC3339)} {
				row = csvfile.AppendCell(append(row, ','), cell)
			}
			// Numbers are no text: a minus is no formula there.
			row = append(append(row, ','), tenant.FormatMoney(a.Balance.Amount)...)
			row = append(append(row, ','), tenant.FormatMoney(a.Balance.CreditLimit)...)
			row = csvfile.AppendCell(append(row, ','), a.Balance.Currency)
			row = strconv.AppendBool(append(row, ','), a.RollupBilling)
			row = append(strconv.AppendInt(append(row, ','), a.ChannelLimit, 10), '\n')
			_, err := w.Write(row)
			return err
		})
	}}, nil
}

func (p *Portal) newAccount(*visit) (any, error) {
	return page{template: "account-new", title: "New account"}, nil
}

func (p *Portal) createAccount(v *visit) (any, error) {
	in := service.NewAccount{BusinessName: v.text("business_name"), RollupBilling: v.checked("rollup_billing"), AllowCustomPricing: v.checked("custom_pricing")}
	if email := v.text("email"); email != "" {
		in.Email = &email
	}
	if password := v.PostForm.Get("password"); password != "" {
		in.Password = &password
	}
	var made *service.Account
	if _, err := p.service.CreateManagedAccount(v.Context(), v.actor, in, p.once(v), func(a *service.Account) ([]byte, error) {
		made = a
		return []byte(a.ID), nil
	}); err != nil {
		return p.again(v, err, (*Portal).newAccount)
	}
	return redirect{to: accountPath(made.ID), notice: made.OrganizationName + " is created."}, nil
}

// once names a form: each is a request of its own.
func (p *Portal) once(v *visit) service.Once {
	return service.Once{Request: v.actor.CredentialID + "\x00portal\x00" + v.requestID}
}

type accountPage struct {
	*service.Account
	Causes      []string
	Use         service.ChannelUse
	Pool        *pool
	Connections service.Some[tenant.Connection]
	// Shown says that the credentials were asked for.
	Shown bool
	// Durations are how long one may act as the owner, in minutes.
	Durations []int64
	// Mine says that the visitor may act as the owner: not who does so already.
	Mine bool
}

func (p *Portal) account(v *visit) (any, error) {
	account, err := p.service.ManagedAccount(v.Context(), v.actor, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return p.showAccount(v, account, false)
}

func (p *Portal) showAccount(v *visit, account *service.Account, shown bool) (any, error) {
	a := accountPage{
		Account: account, Causes: account.Causes(account.Managing), Shown: shown, Durations: []int64{15, 30, 60, 120, 240, 480},
		Mine: ManagersInPerson.allows(v.actor),
	}
	if !shown {
		account.Key, account.Token = "", "" // asking for them is an entry in the audit log
	}
	var err error
	if a.Use, err = p.service.ChannelUse(v.Context(), v.actor, account.ID); err != nil {
		return nil, err
	}
	if a.Pool, err = p.pool(v); err != nil {
		return nil, err
	}
	if a.Connections, err = p.service.ManagedConnections(v.Context(), v.actor, account.ID); err != nil {
		return nil, err
	}
	return page{template: "account", title: account.OrganizationName, data: a}, nil
}

// accountAudit is the log of one of the manager's accounts: what became of it, and why.
func (p *Portal) accountAudit(v *visit) (any, error) {
	account, err := p.service.ManagedAccount(v.Context(), v.actor, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return p.showAudit(v, "Audit log of "+account.OrganizationName, accountPath(account.ID), func(search service.AuditSearch) ([]store.AuditEntry, int64, error) {
		return p.service.ManagedAudit(v.Context(), v.actor, account.ID, search, pageSize)
	})
}

func (p *Portal) disable(v *visit) (any, error) {
	act := p.service.DisableAccount
	if v.checked("hang_up") {
		act = p.service.DisableAndHangUp
	}
	account, err := act(v.Context(), v.actor, v.PathValue("id"), v.text("reason"))
	if err != nil {
		return p.again(v, err, (*Portal).account)
	}
	return redirect{to: accountPath(account.ID), notice: account.OrganizationName + " is disabled: no call, message, key or sign-in of its any more."}, nil
}

func (p *Portal) enable(v *visit) (any, error) {
	account, err := p.service.EnableAccount(v.Context(), v.actor, v.PathValue("id"), v.checked("reenable_all_connections"), v.text("reason"))
	if err != nil {
		return p.again(v, err, (*Portal).account)
	}
	text := account.OrganizationName + " is enabled."
	for _, left := range account.LeftOff {
		text += " The connection " + left.Connection.Name + " stays off: " + left.Problems[0] + "."
	}
	if causes := account.Causes(account.Managing); len(causes) > 0 {
		text += " It still cannot use services: " + cause(causes[0]) + "."
	}
	if len(text) > 900 {
		text = account.OrganizationName + " is enabled; some connections stay off."
	}
	return redirect{to: accountPath(account.ID), notice: text}, nil
}

func (p *Portal) credentials(v *visit) (any, error) {
	account, err := p.service.RevealCredentials(v.Context(), v.actor, v.PathValue("id"))
	if err != nil {
		return p.again(v, err, (*Portal).account)
	}
	return p.showAccount(v, account, true)
}

// number is a whole number of the form, refused where it is none.
func (v *visit) number(field string) (int64, error) {
	text := v.text(field)
	if text == "" {
		return 0, tenant.RefuseField(tenant.Missing, field, "A number is needed.")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, tenant.RefuseField(tenant.WrongType, field, "Must be a whole number.")
	}
	return n, nil
}

func (p *Portal) setChannels(v *visit) (any, error) {
	show := (*Portal).account
	if v.text("from") == "channels" {
		show = (*Portal).channels
	}
	limit, err := v.number("channel_limit")
	if err == nil {
		_, err = p.service.SetChannelLimit(v.Context(), v.actor, v.PathValue("id"), &limit)
	}
	if err != nil {
		return p.again(v, err, show)
	}
	to := redirect{to: accountPath(v.PathValue("id")), notice: "The channel limit is " + count(limit) + "."}
	if v.text("from") == "channels" {
		to.to = channelsPath + "?" + url.Values{"from": {v.text("at")}}.Encode()
	}
	return to, nil
}

func (p *Portal) setPricing(v *visit) (any, error) {
	custom := v.checked("custom_pricing")
	if _, err := p.service.UpdateManagedAccount(v.Context(), v.actor, v.PathValue("id"), &custom); err != nil {
		return p.again(v, err, (*Portal).account)
	}
	text := "The account follows your prices."
	if custom {
		text = "The account has prices of its own."
	}
	return redirect{to: accountPath(v.PathValue("id")), notice: text}, nil
}

func (p *Portal) signInAs(v *visit) (any, error) {
	minutes, err := v.number("minutes")
	var session *service.Session
	if err == nil {
		session, err = p.service.SignInAs(v.Context(), v.in, v.PathValue("id"), v.text("reason"), time.Duration(min(max(minutes, 0), 1<<20))*time.Minute, p.where(v), v.requestID)
	}
	if err != nil {
		if tenant.IsKind(err, tenant.Forbidden) || tenant.IsKind(err, tenant.NotFound) {
			return nil, err
		}
		return p.again(v, err, (*Portal).account)
	}
	remember(v.w, actingCookie, session.Token, 0)
	return redirect{to: Prefix}, nil
}
