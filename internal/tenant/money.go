package tenant

import (
	"fmt"
	"strconv"
	"strings"
)

// Balance is an account's money in minor units (cents) of its currency.
type Balance struct {
	Amount      int64
	Pending     int64
	CreditLimit int64
	// Currency is an ISO 4217 code.
	Currency string
}

// MaxMoney bounds every amount, in minor units.
const MaxMoney = 1_000_000_000_000_00

// Available is what can still be spent, in minor units.
func (b Balance) Available() int64 { return b.Amount + b.CreditLimit }

// FormatMoney writes minor units as a decimal string with two digits.
func FormatMoney(minor int64) string {
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	return fmt.Sprintf("%s%d.%02d", sign, minor/100, minor%100)
}

// ParseMoney reads a decimal string with at most two digits after the point.
func ParseMoney(field, s string) (int64, error) {
	bad := RefuseField(Invalid, field, `An amount is a decimal string with at most two digits after the point, such as "100.00".`)
	digits, negative := strings.CutPrefix(s, "-")
	whole, cents, _ := strings.Cut(digits, ".")
	if whole == "" || len(whole) > 13 || len(cents) > 2 || strings.HasSuffix(s, ".") {
		return 0, bad
	}
	minor, err := strconv.ParseUint(whole+(cents + "00")[:2], 10, 63)
	if err != nil || minor > MaxMoney {
		return 0, bad
	}
	if negative {
		return -int64(minor), nil
	}
	return int64(minor), nil
}
