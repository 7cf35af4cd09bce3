package api

// SendMessage is the body of POST /messages. What is absent or null is left open.
type SendMessage struct {
	// To is the number to send to, in +E.164 format.
	To string `json:"to"`
	// From is a number in +E.164 format, or a name of 1 to 11 letters, digits and spaces.
	From               *string `json:"from,omitempty"`
	MessagingProfileID *string `json:"messaging_profile_id,omitempty"`
	Text               *string `json:"text,omitempty"`
	// Subject and MediaURLs make it an MMS.
	Subject            *string   `json:"subject,omitempty"`
	MediaURLs          *[]string `json:"media_urls,omitempty"`
	WebhookURL         *string   `json:"webhook_url,omitempty"`
	WebhookFailoverURL *string   `json:"webhook_failover_url,omitempty"`
	UseProfileWebhooks *bool     `json:"use_profile_webhooks,omitempty"`
	// Type is SMS or MMS.
	Type       *string `json:"type,omitempty"`
	AutoDetect *bool   `json:"auto_detect,omitempty"`
	// SendAt is when to send it, ISO 8601; absent or past is now.
	SendAt *string `json:"send_at,omitempty"`
	// Encoding is auto, gsm7 or ucs2.
	Encoding *string `json:"encoding,omitempty"`
}

// Message is one that an account sends.
type Message struct {
	// RecordType is always "message", Direction "outbound".
	RecordType string `json:"record_type"`
	Direction  string `json:"direction"`
	// ID is a UUID.
	ID string `json:"id"`
	// Type is SMS or MMS.
	Type               string `json:"type"`
	MessagingProfileID string `json:"messaging_profile_id"`
	// OrganizationID is the account that sends it.
	OrganizationID string             `json:"organization_id"`
	From           MessageSender      `json:"from"`
	To             []MessageRecipient `json:"to"`
	// CC is always empty.
	CC   []MessageRecipient `json:"cc"`
	Text string             `json:"text"`
	// NumChars is how many characters the text has.
	NumChars           int64          `json:"num_chars"`
	Subject            *string        `json:"subject"`
	Media              []MessageMedia `json:"media"`
	WebhookURL         *string        `json:"webhook_url"`
	WebhookFailoverURL *string        `json:"webhook_failover_url"`
	// Encoding is GSM-7 or UCS-2, "" for an MMS.
	Encoding string `json:"encoding"`
	// Parts is how many SMS it takes.
	Parts int64 `json:"parts"`
	// Tags is always empty.
	Tags []string `json:"tags"`
	// Nobody here knows what a message costs: Cost and CostBreakdown are always null.
	Cost          *MessageCost          `json:"cost"`
	CostBreakdown *MessageCostBreakdown `json:"cost_breakdown"`
	// Campaigns are the carrier's: always null and false.
	TCRCampaignID         *string `json:"tcr_campaign_id"`
	TCRCampaignBillable   bool    `json:"tcr_campaign_billable"`
	TCRCampaignRegistered *string `json:"tcr_campaign_registered"`
	ReceivedAt            string  `json:"received_at"`
	// SentAt and CompletedAt are null until it was sent, and until its end is known.
	SentAt      *string `json:"sent_at"`
	CompletedAt *string `json:"completed_at"`
	// ValidUntil is when it is no longer given to a carrier.
	ValidUntil *string `json:"valid_until"`
	// WaitSeconds is always null.
	WaitSeconds *float64 `json:"wait_seconds"`
	// Errors say why it did not arrive; empty when nothing went wrong.
	Errors []Error `json:"errors"`
	// SmartEncodingApplied is always false: the text goes out as it came.
	SmartEncodingApplied bool `json:"smart_encoding_applied"`
}

// MessageSender is who a message comes from.
type MessageSender struct {
	// PhoneNumber is the number or the name, "" when the carrier chooses.
	PhoneNumber string `json:"phone_number"`
	// Carrier and LineType are always "".
	Carrier  string `json:"carrier"`
	LineType string `json:"line_type"`
}

// MessageRecipient is whom a message goes to.
type MessageRecipient struct {
	PhoneNumber string `json:"phone_number"`
	// Status is queued, sent, delivered, sending_failed, delivery_failed,
	// delivery_unconfirmed or expired.
	Status string `json:"status"`
	// Carrier and LineType are always "".
	Carrier  string `json:"carrier"`
	LineType string `json:"line_type"`
}

// MessageMedia is one attachment; all but its address are always null.
type MessageMedia struct {
	URL         string  `json:"url"`
	ContentType *string `json:"content_type"`
	SHA256      *string `json:"sha256"`
	Size        *int64  `json:"size"`
}

// MessageCost is an amount as a decimal string in Currency, ISO 4217.
type MessageCost struct {
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
}

// MessageCostBreakdown is what a cost is made of.
type MessageCostBreakdown struct {
	CarrierFee *MessageCost `json:"carrier_fee,omitempty"`
	Rate       *MessageCost `json:"rate,omitempty"`
}
