package admission

// Reason is why a decision is what it is.
type Reason string

// The reasons.
const (
	Allowed            Reason = "allowed"
	AccountDisabled    Reason = "account_disabled"
	AccountBlocked     Reason = "account_blocked"
	AccountCancelled   Reason = "account_cancelled"
	ConnectionDisabled Reason = "connection_disabled"
	ChannelLimit       Reason = "channel_limit"
	InsufficientFunds  Reason = "insufficient_funds"
	RateLimited        Reason = "rate_limited"
	UnknownCredentials Reason = "unknown_credentials"
	UnknownAccount     Reason = "unknown_account"
	UnknownConnection  Reason = "unknown_connection"
	UnknownUsername    Reason = "unknown_sip_username"
	UnknownSource      Reason = "unknown_source"
	UnknownNumber      Reason = "unknown_number"
	// Unreachable stands where nobody could be asked.
	Unreachable Reason = "unavailable"
)

// Reply is how a reason is said in each dialect.
type Reply struct {
	// Outbound and Inbound are what a SIP switch answers.
	Outbound SIP `json:"sip_outbound" yaml:"sip_outbound"`
	Inbound  SIP `json:"sip_inbound" yaml:"sip_inbound"`
	// Status and Code are HTTP's and the vendor's, with its title.
	Status int    `json:"http_status" yaml:"http_status"`
	Code   string `json:"code" yaml:"code"`
	Title  string `json:"title" yaml:"title"`
	Detail string `json:"detail" yaml:"detail"`
	// SMPP is a command status.
	SMPP int `json:"smpp_status" yaml:"smpp_status"`
}

// SIP is a status code and its phrase.
type SIP struct {
	Code   int    `json:"code" yaml:"code"`
	Phrase string `json:"phrase" yaml:"phrase"`
}

// Table says each reason in each dialect.
type Table map[Reason]Reply

// SMPP command statuses (SMPP 3.4, 5.1.3; 257 is of the range for vendors).
const (
	smppOK            = 0
	smppSystemError   = 8
	smppBadPassword   = 14
	smppBadSystemID   = 15
	smppThrottled     = 88
	smppNotPermitted  = 257
	statusUnavailable = 503
)

// DefaultTable is what is said unless the operator has it otherwise. Codes and
// phrases are the vendor's where it publishes any; the pairing of what is inbound,
// of funds, and of HTTP is ours.
func DefaultTable() Table {
	notFound := SIP{404, "Not found"}
	return Table{
		Allowed: {SIP{200, "OK"}, SIP{200, "OK"}, 200, "", "", "", smppOK},
		AccountDisabled: {SIP{403, "Account is disabled D17"}, SIP{404, "Not found D19"}, 403, "20012", "Account inactive",
			"The account is inactive: it was disabled by its manager.", smppNotPermitted},
		AccountBlocked: {SIP{403, "Account is disabled D17"}, SIP{404, "Not found D19"}, 403, "20013", "Account blocked",
			"The account is blocked. Contact the operator.", smppNotPermitted},
		AccountCancelled: {SIP{403, "Account is disabled D17"}, SIP{404, "Not found D19"}, 403, "20012", "Account inactive",
			"The account is cancelled.", smppNotPermitted},
		ConnectionDisabled: {SIP{403, "Connection is disabled D16"}, SIP{404, "Not found D18"}, 403, "10010", "Not authorized",
			"The connection is disabled.", smppNotPermitted},
		ChannelLimit: {SIP{403, "User channel limit exceeded D1"}, SIP{403, "User channel limit exceeded D1"}, 403, "10039", "Channel limit exceeded",
			"All outbound channels of the account are in use.", smppThrottled},
		InsufficientFunds: {SIP{403, "Account is disabled D17"}, SIP{404, "Not found D19"}, 403, "20100", "Insufficient funds",
			"The account has no funds left.", smppNotPermitted},
		RateLimited: {SIP{503, "CPS Limit Reached P05"}, SIP{503, "CPS Limit Reached P05"}, 429, "10011", "Too many requests",
			"You have exceeded the maximum number of allowed requests.", smppThrottled},
		UnknownCredentials: {SIP{403, "Forbidden D26"}, notFound, 401, "10009", "Authentication failed",
			"Could not understand the provided credentials.", smppBadPassword},
		UnknownAccount:    {SIP{403, "Forbidden D25"}, notFound, 401, "10009", "Authentication failed", "The account is not known.", smppBadSystemID},
		UnknownConnection: {SIP{403, "Forbidden D25"}, notFound, 401, "10009", "Authentication failed", "The connection is not known.", smppBadSystemID},
		UnknownUsername:   {SIP{403, "Forbidden D25"}, notFound, 401, "10009", "Authentication failed", "The SIP username is not known.", smppBadSystemID},
		UnknownSource:     {SIP{403, "Forbidden D25"}, notFound, 401, "10009", "Authentication failed", "The source address is not known.", smppBadSystemID},
		UnknownNumber:     {SIP{403, "Forbidden D25"}, notFound, 401, "10009", "Authentication failed", "The number is not known.", smppBadSystemID},
		Unreachable: {SIP{503, "Service Unavailable"}, SIP{503, "Service Unavailable"}, statusUnavailable, "10007", "Service unavailable",
			"The service is unavailable for a moment. Try again.", smppSystemError},
	}
}
