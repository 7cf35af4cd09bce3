package tenant

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// MessageStatus is how far a message has come, in the vendor's words.
type MessageStatus string

// The statuses of a message.
const (
	// MessageQueued means that no carrier has it yet.
	MessageQueued MessageStatus = "queued"
	// MessageSent means that the carrier has taken it.
	MessageSent      MessageStatus = "sent"
	MessageDelivered MessageStatus = "delivered"
	// MessageRefused means that the carrier would not take it.
	MessageRefused MessageStatus = "sending_failed"
	// MessageUndelivered means that the carrier took it and could not deliver it.
	MessageUndelivered MessageStatus = "delivery_failed"
	// MessageUnconfirmed means that nobody knows: the carrier did not answer in time.
	MessageUnconfirmed MessageStatus = "delivery_unconfirmed"
	// MessageExpired means that no carrier could be reached while it was valid.
	MessageExpired MessageStatus = "expired"
)

// MessageFailure is why a message did not arrive.
type MessageFailure string

// The failures of a message.
const (
	// FailureRejected: the carrier would not take it.
	FailureRejected MessageFailure = "rejected"
	// FailureStopped: its account was stopped before the carrier had it.
	FailureStopped MessageFailure = "stopped"
	// FailureUndeliverable: the carrier could not deliver it.
	FailureUndeliverable MessageFailure = "undeliverable"
	// FailureNoAnswer: the carrier did not say whether it took it.
	FailureNoAnswer MessageFailure = "no_answer"
	// FailureExpired: no carrier could be reached while it was valid.
	FailureExpired MessageFailure = "expired"
)

// MessageLife is how long a message waits for a carrier that cannot be reached.
const MessageLife = time.Hour

// HandOverTime is how long a message is with whoever hands it over, before somebody
// else does.
const HandOverTime = 30 * time.Second

// MaxSchedule is how far ahead a message may be ordered.
const MaxSchedule = 5 * 24 * time.Hour

// Bounds of what a message has. Characters are those of Unicode.
const (
	maxParts     = 10
	maxMMSText   = 5000 // characters
	maxSubject   = 255  // bytes
	maxProfileID = 255  // bytes
	maxMedia     = 10
	maxURL       = 2000 // bytes, as the vendor has it
)

// MessageContent is what the sender asks for.
type MessageContent struct {
	// To is in E.164 form; From too, or it is a name of 1 to 11 letters and digits. It
	// may be "" with a profile: the carrier chooses.
	To   string `json:"to"`
	From string `json:"from,omitempty"`
	// ProfileID is the sender's own word, passed on as it is.
	ProfileID string   `json:"messaging_profile_id,omitempty"`
	Text      string   `json:"text,omitempty"`
	Subject   string   `json:"subject,omitempty"`
	MediaURLs []string `json:"media_urls,omitempty"`
	// Type is SMS or MMS.
	Type string `json:"type"`
	// Encoding is gsm7 or ucs2; "" for an MMS. In an order it may be auto.
	Encoding string `json:"encoding,omitempty"`
	// Parts is how many SMS the text takes, 1 for an MMS.
	Parts              int    `json:"parts"`
	WebhookURL         string `json:"webhook_url,omitempty"`
	WebhookFailoverURL string `json:"webhook_failover_url,omitempty"`
}

// Message is one that an account sends.
type Message struct {
	ID        string
	AccountID string
	// Sender, CredentialID and RequestID say who sent it, and by which request.
	Sender, CredentialID, RequestID string
	MessageContent

	Status MessageStatus
	// Failure is why it did not arrive, "" when nothing went wrong; Reason is what the
	// carrier says of it, for the sender to read, and may be "".
	Failure MessageFailure
	Reason  string
	// Attempts is how often it was given to the carrier, or looked after.
	Attempts int64
	// DueAt is when something is to be done about it next, zero when all is done. Who
	// does it moves the time on first, so that nobody else does it too meanwhile.
	DueAt time.Time

	ReceivedAt time.Time
	// ValidUntil is when it is no longer given to a carrier.
	ValidUntil time.Time
	// SentAt and CompletedAt are zero until it was sent, and until all is done.
	SentAt, CompletedAt time.Time
	// ExpiresAt is when it is forgotten.
	ExpiresAt time.Time
}

// CheckMessage refuses what cannot be sent, naming each field, and fills in what the
// order leaves open: type, encoding, parts.
func CheckMessage(c *MessageContent) error {
	errs := []error{
		checkTo(c.To), checkFrom(c), checkLine("messaging_profile_id", c.ProfileID, maxProfileID), checkLine("subject", c.Subject, maxSubject),
		checkURL("webhook_url", c.WebhookURL), checkURL("webhook_failover_url", c.WebhookFailoverURL),
	}
	if len(c.MediaURLs) > maxMedia {
		errs = append(errs, RefuseField(OutOfRange, "media_urls", fmt.Sprintf("A message may have at most %d media.", maxMedia)))
	} else {
		for i, media := range c.MediaURLs {
			if media == "" {
				media = " " // an empty place in the list is none, and no URL
			}
			errs = append(errs, checkURL(fmt.Sprintf("media_urls/%d", i), media))
		}
	}
	return errors.Join(append(errs, c.checkType(), c.checkText())...)
}

func checkTo(to string) error {
	if to == "" {
		return RefuseField(Missing, "to", "The number to send to is required.")
	}
	return checkNumber("to", to)
}

// checkNumber tells what is no +E.164 at all from what looks like it and is none.
func checkNumber(field, number string) error {
	digits, plus := strings.CutPrefix(number, "+")
	if !plus || digits == "" || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return RefuseField(BadNumber, field, "Must be a phone number in +E.164 format, such as +18445550001.")
	}
	if len(digits) < 7 || len(digits) > 15 || digits[0] == '0' {
		return RefuseField(NoNumber, field, "A phone number has 7 to 15 digits after the +, and does not begin with 0.")
	}
	return nil
}

// maxSenderName is the longest name that a message may come from.
const maxSenderName = 11

func checkFrom(c *MessageContent) error {
	from := c.From
	if from == "" {
		if c.ProfileID == "" {
			return RefuseField(Missing, "from", "The number or name to send from is required without messaging_profile_id.")
		}
		return nil
	}
	if !strings.ContainsFunc(from, isLetter) {
		return checkNumber("from", from)
	}
	if len(from) > maxSenderName || strings.TrimSpace(from) != from ||
		strings.ContainsFunc(from, func(r rune) bool { return !isLetter(r) && (r < '0' || r > '9') && r != ' ' }) {
		return RefuseField(Invalid, "from", fmt.Sprintf("A sender's name has at most %d letters, digits and spaces.", maxSenderName))
	}
	return nil
}

func isLetter(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }

func checkLine(field, text string, most int) error {
	switch {
	case len(text) > most:
		return RefuseField(OutOfRange, field, fmt.Sprintf("May have at most %d bytes.", most))
	case strings.ContainsFunc(text, isControl):
		return RefuseField(BadEncoding, field, "May not contain control characters.")
	}
	return nil
}

func checkURL(field, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsFunc(text, isControl) || strings.Contains(text, " ") {
		return RefuseField(BadURL, field, fmt.Sprintf("Must be an http or https URL of at most %d bytes.", maxURL))
	}
	return nil
}

func (c *MessageContent) checkType() error {
	mms := len(c.MediaURLs) > 0 || c.Subject != ""
	switch {
	case c.Type == "" && mms:
		c.Type = "MMS"
	case c.Type == "":
		c.Type = "SMS"
	case c.Type != "SMS" && c.Type != "MMS":
		return RefuseField(NotEnumerated, "type", "Must be SMS or MMS.")
	case c.Type == "SMS" && mms:
		return RefuseField(Invalid, "type", "Only an MMS has media_urls or a subject.")
	}
	return nil
}

func (c *MessageContent) checkText() error {
	wanted := c.Encoding
	switch wanted {
	case "", "auto", "gsm7", "ucs2":
	default:
		return RefuseField(NotEnumerated, "encoding", "Must be auto, gsm7 or ucs2.")
	}
	switch {
	case c.Text == "" && len(c.MediaURLs) == 0:
		return RefuseField(Missing, "text", "A message needs a text or media_urls.")
	case strings.ContainsRune(c.Text, 0) || strings.ContainsRune(c.Text, utf8.RuneError):
		return RefuseField(BadEncoding, "text", "May not contain NUL characters, nor halves of characters.")
	}
	if c.Type == "MMS" {
		c.Encoding, c.Parts = "", 1
		if utf8.RuneCountInString(c.Text) > maxMMSText {
			return RefuseField(OutOfRange, "text", fmt.Sprintf("The text of an MMS may have at most %d characters.", maxMMSText))
		}
		return nil
	}
	if c.Encoding, c.Parts = CountParts(c.Text, wanted); c.Parts == 0 {
		return RefuseField(BadEncoding, "text", "There are characters in the text that gsm7 does not have.")
	}
	if c.Parts > maxParts {
		return RefuseField(OutOfRange, "text", fmt.Sprintf("The text takes %d parts, and may take at most %d.", c.Parts, maxParts))
	}
	return nil
}
