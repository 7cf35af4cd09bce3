package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

var admissionView = view[api.Admission]{
	id: func(a *api.Admission) string { return a.Decision },
	columns: []column[api.Admission]{
		{wire: "decision", value: func(a *api.Admission) string { return a.Decision }, color: decisionColor},
		{wire: "reason", value: func(a *api.Admission) string { return a.Reason }},
		{wire: "detail", value: func(a *api.Admission) string { return refusal(a).Detail }},
		{wire: "account_id", value: func(a *api.Admission) string { return a.AccountID }},
		{wire: "connection_id", value: func(a *api.Admission) string { return a.ConnectionID }},
		{wire: "sip", label: "SIP", value: func(a *api.Admission) string { return fmt.Sprintf("%d %s", a.SIP.Code, a.SIP.Phrase) }},
		{wire: "http_status", label: "HTTP status", value: func(a *api.Admission) string { return strconv.FormatInt(a.HTTP.Status, 10) }},
		{wire: "code", value: func(a *api.Admission) string { return refusal(a).Code }},
		{wire: "smpp_status", label: "SMPP status", value: func(a *api.Admission) string { return strconv.FormatInt(a.SMPPStatus, 10) }},
		{wire: "limit", label: "channel limit", value: func(a *api.Admission) string { return optional(a.Limit) }},
		{wire: "degraded", value: func(a *api.Admission) string {
			if a.Degraded {
				return "the database could not be asked"
			}
			return ""
		}},
	},
}

func decisionColor(decision string) string {
	if decision == allow {
		return green
	}
	return red
}

// allow is the decision that lets something be done.
const allow = "allow"

// refusal is what a gateway would answer, empty for what is allowed.
func refusal(a *api.Admission) api.Error {
	if len(a.HTTP.Errors) == 0 {
		return api.Error{}
	}
	return a.HTTP.Errors[0]
}

func optional(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

// errDenied ends a check that was answered with a refusal. It is no fault, and all
// has been said.
var errDenied = errors.New("denied")

// CheckAdmission is a command.
type CheckAdmission struct {
	Kind         string `arg:"" enum:"call,message,api,login,register" help:"What would be done: call, message, api, login or register."`
	Direction    string `enum:"outbound,inbound" default:"outbound" placeholder:"DIRECTION" help:"outbound or inbound, as the account sees it."`
	Account      string `group:"Who" placeholder:"ID" help:"Account id."`
	ConnectionID string `group:"Who" name:"connection" placeholder:"ID" help:"Connection id."`
	SIPUsername  string `group:"Who" name:"sip-username" placeholder:"NAME" help:"SIP username."`
	SourceIP     string `group:"Who" name:"source-ip" placeholder:"IP" help:"Address that it comes from."`
	Number       string `group:"Who" placeholder:"E.164" help:"Phone number: who calls when outbound, who is called when inbound."`
	APIKey       string `group:"Who" name:"api-key" placeholder:"KEY" help:"API key."`
	APIUser      string `group:"Who" name:"api-user" placeholder:"ADDRESS" help:"User of V1 credentials."`
	APIToken     string `group:"Who" name:"api-token" placeholder:"TOKEN" help:"Token of V1 credentials."`
	OperatorReading
}

// Help shows an example.
func (CheckAdmission) Help() string {
	return `What a switch or a proxy would be told now, and why. It takes no channels. The exit
code is 0 for allow and 4 for deny. Examples:
  tenantry operator check call --sip-username larry
  tenantry operator check call --direction inbound --number +15550100
  tenantry operator check message --account ID --json`
}

// Run asks for a decision.
func (x *CheckAdmission) Run(ctx context.Context, t *Terminal) error {
	ask := api.AdmissionCheck{
		Kind: x.Kind, Direction: x.Direction, APIKey: x.APIKey, APIUser: x.APIUser, APIToken: x.APIToken,
		AccountID: x.Account, ConnectionID: x.ConnectionID, SIPUsername: x.SIPUsername, SourceIP: x.SourceIP, Number: x.Number,
	}
	if (ask == api.AdmissionCheck{Kind: x.Kind, Direction: x.Direction}) {
		return usagef("who? Give --account, --connection, --sip-username, --source-ip, --number or --api-key")
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.operator.CheckAdmission(ctx, ask)
	if err != nil {
		return err
	}
	if err := showOne(t, x.Output, admissionView, a, false); err != nil {
		return err
	}
	if a.Decision != allow {
		return errDenied
	}
	// A question that takes no channels is not refused for want of them.
	if a.Limit != nil {
		if use, err := s.operator.ChannelUse(ctx, a.AccountID); err == nil && use.InUse >= use.Limit {
			t.note("Of %d channels %d are in use: a call that takes one is refused now.", use.Limit, use.InUse)
		}
	}
	return nil
}

var leaseView = view[api.Lease]{
	id: func(l *api.Lease) string { return l.CallID },
	columns: []column[api.Lease]{
		{wire: "call_id", head: "CALL", shape: whole, value: func(l *api.Lease) string { return l.CallID }},
		{wire: "account_id", head: "ACCOUNT", shape: whole, value: func(l *api.Lease) string { return l.AccountID }},
		{wire: "connection_id", value: func(l *api.Lease) string { return l.ConnectionID }},
		{wire: "direction", head: "DIRECTION", value: func(l *api.Lease) string { return l.Direction }},
		{wire: "units", head: "CHANNELS", value: func(l *api.Lease) string { return strconv.FormatInt(l.Units, 10) }},
		{wire: "switch", head: "SWITCH", value: func(l *api.Lease) string { return l.Switch }},
		{wire: "acquired_at", head: "SINCE", shape: spare, value: func(l *api.Lease) string { return l.AcquiredAt }},
		{wire: "expires_at", head: "UNTIL", shape: spare, value: func(l *api.Lease) string { return l.ExpiresAt }},
	},
}

// ListLeases is a command.
type ListLeases struct {
	ID     string `arg:"" optional:"" help:"Account id."`
	Call   string `group:"Filter" placeholder:"ID" help:"Only what this call holds."`
	Switch string `group:"Filter" placeholder:"NAME" help:"Only what the calls of this switch hold."`
	Size   int64  `group:"Paging" default:"100" placeholder:"N" help:"How many are shown at most, 1 to 1000."`
	After  string `group:"Paging" placeholder:"CALL" help:"Begin after this call."`
	All    bool   `group:"Paging" help:"Show all of them; with --json print one object a line."`
	OperatorReading
}

// Help shows an example.
func (ListLeases) Help() string {
	return `The calls that hold channels now. Examples:
  tenantry operator leases ID
  tenantry operator leases --switch fs1 --all -q`
}

// Run lists leases.
func (x *ListLeases) Run(ctx context.Context, t *Terminal) error {
	switch {
	case count(x.ID != "", x.Call != "", x.Switch != "") != 1:
		return usagef("whose leases? Give an account id, --call or --switch")
	case x.Size < 1 || x.Size > 1000:
		return usagef("--size has to be from 1 to 1000")
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	list := client.LeaseList{AccountID: x.ID, CallID: x.Call, Switch: x.Switch, After: x.After, Limit: x.Size}
	if x.All {
		list.Limit = 1000
		return showItems(t, x.Output, leaseView, everyLease(ctx, s.operator, list))
	}
	leases, err := s.operator.ListLeases(ctx, list)
	if err != nil {
		return err
	}
	if x.JSON {
		return encode(t.Out, leases)
	}
	if err := showItems(t, x.Output, leaseView, eachOf(leases.Data)); err != nil {
		return err
	}
	if leases.More {
		t.note("There are more: --all shows everything.")
	}
	return nil
}

// everyLease goes through all pages.
func everyLease(ctx context.Context, o *client.Operator, list client.LeaseList) iter.Seq2[*api.Lease, error] {
	return func(yield func(*api.Lease, error) bool) {
		for {
			page, err := o.ListLeases(ctx, list)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page.Data {
				if !yield(&page.Data[i], nil) {
					return
				}
			}
			if !page.More || len(page.Data) == 0 {
				return
			}
			list.After = page.Data[len(page.Data)-1].CallID
		}
	}
}

var releasedView = view[api.Released]{
	id: func(r *api.Released) string { return r.CallID },
	columns: []column[api.Released]{
		{wire: "call_id", label: "call", value: func(r *api.Released) string { return r.CallID }},
		{wire: "released", label: "leases ended", value: func(r *api.Released) string { return strconv.FormatInt(r.Released, 10) }},
	},
}

// FreeLease is a command.
type FreeLease struct {
	Call string `arg:"" help:"Call id, as operator leases shows it."`
	OperatorChanging
}

// Validate refuses what can be no call before it becomes another address.
func (x *FreeLease) Validate() error { return checkID(x.Call) }

// Help shows an example.
func (FreeLease) Help() string {
	return `Gives back the channels that a call holds; a call that runs is not ended by it.
Doing it twice does no harm. Example:
  tenantry operator free-lease CALL`
}

// Run frees what a call holds.
func (x *FreeLease) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	r, err := s.operator.ReleaseLeases(ctx, x.Call)
	return finish(s, releasedView, r, err, false)
}
