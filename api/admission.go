package api

// The admission API lives under /admission/v1 and is for switches, gateways and
// proxies: may this account do that now?

// AdmissionCheck is the body of POST /admission/v1/check. Of the identities at least
// one is given; all that are must be of one account.
type AdmissionCheck struct {
	// Kind is call, message, api, login or register.
	Kind string `json:"kind"`
	// Direction is outbound (when absent) or inbound, as the account sees it.
	Direction string `json:"direction,omitempty"`

	// APIKey is a V2 key, APIUser and APIToken are V1 credentials.
	APIKey   string `json:"api_key,omitempty"`
	APIUser  string `json:"api_user,omitempty"`
	APIToken string `json:"api_token,omitempty"`

	AccountID    string `json:"account_id,omitempty"`
	ConnectionID string `json:"connection_id,omitempty"`
	SIPUsername  string `json:"sip_username,omitempty"`
	SourceIP     string `json:"source_ip,omitempty"`
	// Number is in E.164 form: who calls when outbound, who is called when inbound.
	Number string `json:"number,omitempty"`

	// CallID is the switch's name for the call.
	CallID string `json:"call_id,omitempty"`
	// Units is how many channels the call takes; absent means 1.
	Units *int64 `json:"units,omitempty"`
	// Acquire takes them.
	Acquire *bool `json:"acquire,omitempty"`
	// Switch is the name under which the switch lists its live calls.
	Switch string `json:"switch,omitempty"`
	// Strict answers a refusal with its HTTP status instead of 200.
	Strict *bool `json:"strict,omitempty"`
}

// String masks the secrets.
func (c AdmissionCheck) String() string { return printable(c) }

// Admission is the answer.
type Admission struct {
	// RecordType is always "admission".
	RecordType string `json:"record_type"`
	// Decision is allow or deny.
	Decision string `json:"decision"`
	// Reason is "allowed" or why not.
	Reason string `json:"reason"`
	// Degraded says that the database could not be asked.
	Degraded     bool          `json:"degraded"`
	AccountID    string        `json:"account_id,omitempty"`
	ConnectionID string        `json:"connection_id,omitempty"`
	SIP          AdmissionSIP  `json:"sip"`
	HTTP         AdmissionHTTP `json:"http"`
	SMPPStatus   int64         `json:"smpp_status"`
	// Lease is what the call holds.
	Lease *AdmissionLease `json:"lease,omitempty"`
	// Limit and InUse are outbound channels.
	Limit *int64 `json:"limit,omitempty"`
	InUse *int64 `json:"in_use,omitempty"`
	// CacheSeconds is how long the answer may be kept: not at all.
	CacheSeconds int64 `json:"cache_seconds"`
}

// AdmissionSIP is what a switch answers to the call.
type AdmissionSIP struct {
	Code   int64  `json:"code"`
	Phrase string `json:"phrase"`
}

// AdmissionHTTP is what a gateway answers to the request.
type AdmissionHTTP struct {
	Status int64   `json:"status"`
	Errors []Error `json:"errors"`
}

// AdmissionLease is what a call holds.
type AdmissionLease struct {
	ID        string `json:"id"`
	ExpiresAt string `json:"expires_at"`
}

// Lease is a lease in a list.
type Lease struct {
	// RecordType is always "lease".
	RecordType   string `json:"record_type"`
	ID           string `json:"id"`
	AccountID    string `json:"account_id"`
	ConnectionID string `json:"connection_id"`
	CallID       string `json:"call_id"`
	// Direction is outbound or inbound.
	Direction  string `json:"direction"`
	Units      int64  `json:"units"`
	Switch     string `json:"switch"`
	AcquiredAt string `json:"acquired_at"`
	ExpiresAt  string `json:"expires_at"`
}

// LeaseList is the answer of a list of leases.
type LeaseList struct {
	Data []Lease `json:"data"`
	// More says that there are more: ask again with after.
	More bool `json:"more"`
}

// Released is the answer to a release.
type Released struct {
	CallID string `json:"call_id"`
	// Released is how many leases ended: 0 for a call that holds nothing.
	Released int64 `json:"released"`
}

// LiveCalls is the body of PUT /admission/v1/switches/{name}/live.
type LiveCalls struct {
	CallIDs []string `json:"call_ids"`
}

// Reconciled is the answer to it.
type Reconciled struct {
	Switch string `json:"switch"`
	// Live is how many leases go on, Ending how many end after the grace.
	Live   int64 `json:"live"`
	Ending int64 `json:"ending"`
}

// ChannelUse is what the calls of an account hold now.
type ChannelUse struct {
	// RecordType is always "channel_use".
	RecordType string `json:"record_type"`
	AccountID  string `json:"account_id"`
	// Limit and InUse are outbound channels. After a limit was lowered InUse may be
	// more.
	Limit int64 `json:"channel_limit"`
	InUse int64 `json:"channels_in_use"`
}
