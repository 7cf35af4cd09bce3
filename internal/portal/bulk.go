package portal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

const bulkPath = accountsPath + "/disable"

var bulkRoutes = []Route{
	{"choose accounts to disable", "GET " + bulkPath, Managers, (*Portal).chooseBulk},
	{"preview disabling", "POST " + bulkPath, Managers, (*Portal).previewBulk},
	{confirmBulk, "POST " + bulkPath + "/confirm", Managers, (*Portal).disableBulk},
}

// confirmBulk is the route that does what was previewed.
const confirmBulk = "disable accounts"

const (
	// mostBulk is how many accounts one form disables.
	mostBulk = 1000
	// bulkShown is how many of them, and of what was not found, are shown.
	bulkShown = 100
	// bulkPage is how many are looked for at a time, mostLooked how many in all: those
	// that are disabled already count.
	bulkPage   = 250
	mostLooked = 5000
)

// bulkPreview is what a bulk would do, before anything is done.
type bulkPreview struct {
	// Disable are the accounts that will be stopped.
	Disable []service.Account
	// Already are those that are stopped by their manager, Cancelled those that can
	// never be.
	Already, Cancelled []service.Account
	// Unknown are lines that name no account of the manager's.
	Unknown []string
	// InUse is how many channels the calls of those hold now.
	InUse int64
	// Left is how many more match that were not looked at, beyond what one bulk takes.
	Left int64
}

// Shown are the first of those that will be stopped.
func (b bulkPreview) Shown() []service.Account { return b.Disable[:min(len(b.Disable), bulkShown)] }

// Unshown is how many more there are.
func (b bulkPreview) Unshown() int { return len(b.Disable) - len(b.Shown()) }

func (p *Portal) chooseBulk(*visit) (any, error) {
	return page{template: "bulk", title: "Disable accounts", data: mostBulk}, nil
}

// previewBulk shows what would be done to the accounts that were ticked, named in a
// text, or that match a list.
func (p *Portal) previewBulk(v *visit) (any, error) {
	preview := bulkPreview{}
	seen := map[string]bool{}
	add := func(a *service.Account) {
		switch {
		case seen[a.ID]:
		case a.Cancelled:
			preview.Cancelled = append(preview.Cancelled, *a)
		case a.Disabled:
			preview.Already = append(preview.Already, *a)
		default:
			preview.Disable = append(preview.Disable, *a)
		}
		seen[a.ID] = true
	}
	names := slices.Concat(v.PostForm["id"], strings.FieldsFunc(v.PostForm.Get("accounts"), func(r rune) bool { return strings.ContainsRune("\n\r\t,; ", r) }))
	if v.route.Name == confirmBulk {
		names = strings.Fields(v.PostForm.Get("ids")) // which was refused
	}
	if len(names) > mostBulk {
		return p.again(v, tenant.RefuseField(tenant.OutOfRange, "accounts", fmt.Sprintf("At most %d accounts at a time.", mostBulk)), (*Portal).chooseBulk)
	}
	if err := p.charge(v, len(names)); err != nil {
		return nil, err
	}
	for _, name := range names {
		account, err := p.named(v, name)
		if err != nil {
			return nil, err
		}
		if account == nil {
			preview.Unknown = append(preview.Unknown, name)
			continue
		}
		add(account)
	}
	if v.text("all") != "" {
		if err := p.addMatching(v, &preview, add); err != nil {
			return nil, err
		}
	}
	if len(seen) == 0 && len(preview.Unknown) == 0 {
		return p.again(v, tenant.RefuseField(tenant.Missing, "accounts", "Name an account, by its id or its email address."), (*Portal).chooseBulk)
	}
	for _, a := range preview.Disable {
		use, err := p.service.ChannelUse(v.Context(), v.actor, a.ID)
		if err != nil {
			return nil, err
		}
		preview.InUse += use.InUse
	}
	return page{template: "bulk-preview", title: "Disable accounts", data: preview}, nil
}

// perRequest is how many accounts of a bulk count as one request.
const perRequest = 50

// charge counts a bulk as what it costs.
func (p *Portal) charge(v *visit, accounts int) error {
	for range accounts / perRequest {
		if err := p.options.Allow(v.actor.CredentialID); err != nil {
			return err
		}
	}
	return nil
}

// named is the manager's account with that id or address, or nil.
func (p *Portal) named(v *visit, name string) (*service.Account, error) {
	if tenant.IsUUID(name) {
		account, err := p.service.ManagedAccount(v.Context(), v.actor, name)
		if tenant.IsKind(err, tenant.NotFound) {
			return nil, nil
		}
		return account, err
	}
	accounts, _, err := p.service.ManagedAccounts(v.Context(), v.actor, service.AccountFilter{EmailEq: name, Status: "all"}, service.Page{Number: 1, Size: 1})
	if err != nil || len(accounts) == 0 {
		return nil, err
	}
	return &accounts[0], nil
}

// addMatching adds the accounts that a list has, as many as one bulk takes.
func (p *Portal) addMatching(v *visit, preview *bulkPreview, add func(*service.Account)) error {
	filter := service.AccountFilter{Contains: v.text("q"), Ascending: true}
	if status := v.text("status"); slices.Contains(accountStatuses, status) {
		filter.Status = status
	}
	looked := int64(0)
	for number := int64(1); ; number++ {
		accounts, place, err := p.service.ManagedAccounts(v.Context(), v.actor, filter, service.Page{Number: number, Size: bulkPage, Reader: "bulk " + v.requestID})
		if err != nil {
			return err
		}
		if err := p.charge(v, len(accounts)); err != nil {
			return err
		}
		for i := range accounts {
			if len(preview.Disable) >= mostBulk || looked == mostLooked {
				preview.Left = place.Total - looked
				return nil
			}
			add(&accounts[i])
			looked++
		}
		if len(accounts) < bulkPage {
			return nil
		}
	}
}

// bulkResult is what was done.
type bulkResult struct {
	Disabled int
	// Failed are those that could not be, by id, with why.
	Failed []bulkFailure
}

type bulkFailure struct{ ID, Why string }

// Shown are the first of those that failed.
func (b bulkResult) Shown() []bulkFailure { return b.Failed[:min(len(b.Failed), bulkShown)] }

// atOnce is how many accounts are disabled at the same time: they share commits.
const atOnce = 16

func (p *Portal) disableBulk(v *visit) (any, error) {
	ids := strings.Fields(v.PostForm.Get("ids"))
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 || len(ids) > mostBulk {
		return p.again(v, tenant.RefuseField(tenant.OutOfRange, "accounts", fmt.Sprintf("From 1 to %d accounts at a time.", mostBulk)), (*Portal).chooseBulk)
	}
	reason := v.text("reason")
	if reason != "" {
		if err := tenant.CheckReason(reason); err != nil {
			return p.again(v, err, (*Portal).previewBulk)
		}
	}
	if err := p.charge(v, len(ids)); err != nil {
		return nil, err
	}
	act := p.service.DisableAccount
	if v.checked("hang_up") {
		act = p.service.DisableAndHangUp
	}
	errs := make([]error, len(ids))
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, id := range ids {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			_, errs[i] = act(v.Context(), v.actor, id, reason)
		})
	}
	all.Wait()
	result := bulkResult{}
	for i, err := range errs {
		if err == nil {
			result.Disabled++
			continue
		}
		why := "It could not be done now. Try again."
		if refused, ok := errors.AsType[*tenant.Error](err); ok {
			why = refused.Error()
		} else if v.Context().Err() == nil {
			p.log.Error("an account could not be disabled", "request_id", v.requestID, "error", err)
		}
		result.Failed = append(result.Failed, bulkFailure{ids[i], why})
	}
	return page{template: "bulk-done", title: "Accounts disabled", data: result}, nil
}
