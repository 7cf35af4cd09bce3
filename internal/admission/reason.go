package admission

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

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
	UserDisabled       Reason = "user_disabled"
	UserBlocked        Reason = "user_blocked"
	// Unreachable stands where nobody could be asked.
	Unreachable Reason = "unavailable"
)

// Reply is how a reason is said in each dialect.
type Reply struct {
	// Outbound and Inbound are what a SIP switch answers.
	Outbound SIP `yaml:"sip_outbound"`
	Inbound  SIP `yaml:"sip_inbound"`
	// Status and Code are HTTP's and the vendor's, with its title.
	Status int    `yaml:"http_status"`
	Code   string `yaml:"code"`
	Title  string `yaml:"title"`
	Detail string `yaml:"detail"`
	// SMPP is a command status.
	SMPP int `yaml:"smpp_status"`
}

// SIP is a status code and its phrase.
type SIP struct {
	Code   int    `yaml:"code"`
	Phrase string `yaml:"phrase"`
}

// SIP is what a switch answers to a call in that direction.
func (r *Reply) SIP(direction string) SIP {
	if direction == Inbound {
		return r.Inbound
	}
	return r.Outbound
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
		UserDisabled: {SIP{403, "Account is disabled D17"}, SIP{404, "Not found D19"}, 403, "20012", "Account inactive",
			"The user is disabled.", smppNotPermitted},
		UserBlocked: {SIP{403, "Account is disabled D17"}, SIP{404, "Not found D19"}, 403, "20013", "Account blocked",
			"The user is blocked. Contact the operator.", smppNotPermitted},
		Unreachable: {SIP{503, "Service Unavailable"}, SIP{503, "Service Unavailable"}, statusUnavailable, "10007", "Service unavailable",
			"The service is unavailable for a moment. Try again.", smppSystemError},
	}
}

// ReadTable is the DefaultTable with what an operator has otherwise, in YAML: reasons,
// and below each the fields that differ. A reason or a field that there is not, and
// what a dialect cannot say, are refused.
func ReadTable(text []byte) (Table, error) {
	table := DefaultTable()
	var given map[Reason]yaml.Node
	if err := yaml.Unmarshal(text, &given); err != nil {
		return nil, err
	}
	for _, reason := range slices.Sorted(maps.Keys(given)) {
		reply, known := table[reason]
		if !known {
			return nil, fmt.Errorf("there is no reason %s", reason)
		}
		node := given[reason]
		fields, err := yaml.Marshal(&node)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", reason, err)
		}
		d := yaml.NewDecoder(bytes.NewReader(fields))
		d.KnownFields(true)
		if err := d.Decode(&reply); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: %w", reason, err)
		}
		if err := reply.check(reason == Allowed); err != nil {
			return nil, fmt.Errorf("%s: %w", reason, err)
		}
		table[reason] = reply
	}
	return table, nil
}

// check refuses what would be taken for something else, or break a line, a header or
// a dialplan.
func (r *Reply) check(allowed bool) error {
	least, most, status := 400, 699, r.Status >= 400 && r.Status <= 599
	if allowed {
		least, most, status = 200, 299, r.Status == 200
	}
	for _, sip := range []SIP{r.Outbound, r.Inbound} {
		switch {
		case sip.Code < least || sip.Code > most:
			return fmt.Errorf("a SIP code has to be from %d to %d, not %d", least, most, sip.Code)
		case sip.Phrase == "" || !isPlain(sip.Phrase) || len(sip.Phrase) > 100:
			return fmt.Errorf("a SIP phrase has 1 to 100 printable ASCII characters without $, \\ and quotes, not %q", sip.Phrase)
		}
	}
	switch {
	case !status:
		return fmt.Errorf("the HTTP status %d does not fit", r.Status)
	case !isPlain(r.Code) || !isPlain(r.Title) || !isPlain(r.Detail) || len(r.Code)+len(r.Title)+len(r.Detail) > 1000:
		return errors.New("code, title and detail are at most 1,000 printable ASCII characters without $, \\ and quotes")
	case allowed != (r.SMPP == 0) || r.SMPP < 0:
		return fmt.Errorf("the SMPP status %d does not fit: 0 is for what is allowed, and only that", r.SMPP)
	}
	return nil
}

func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune("$\\\"`", r) })
}
