package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"github.com/nbutton23/zxcvbn-go/data"

	"github.com/tenantry/tenantry/internal/tenant"
)

// Passwords hashes and checks passwords, three at a time: each costs 19 MiB and
// some 30 ms of processor.
type Passwords struct {
	// MinLength is the shortest password taken, in characters.
	MinLength int

	making   chan struct{} // for new passwords
	checking chan struct{} // for sign-ins, which must not wait for those

	mu      sync.Mutex
	waiting map[string]int
	params  *argon2id.Params
	dummy   string
}

// MaxPassword is the longest password taken, in bytes. None is ever cut.
const MaxPassword = 256

// NewPasswords makes a checker; minLength 0 means 8 characters.
func NewPasswords(minLength int) *Passwords {
	if minLength == 0 {
		minLength = 8
	}
	params := &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	return &Passwords{
		MinLength: minLength, making: make(chan struct{}, 2), checking: make(chan struct{}, 1),
		waiting: map[string]int{}, params: params,
		// A hash that no password has, to spend the same time on unknown users.
		dummy: "$argon2id$v=19$m=19456,t=2,p=1$" + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 43),
	}
}

// Check refuses a password that is too short, too long, among the most used, or
// made of the account's own names. There is no rule about kinds of characters.
func (p *Passwords) Check(field, password string, names ...string) error {
	if n := utf8.RuneCountInString(password); n < p.MinLength {
		return tenant.RefuseField(tenant.OutOfRange, field, fmt.Sprintf("A password must have at least %d characters.", p.MinLength))
	}
	if len(password) > MaxPassword {
		return tenant.RefuseField(tenant.OutOfRange, field, fmt.Sprintf("A password may have at most %d bytes.", MaxPassword))
	}
	plain := strings.ToLower(password)
	first, _ := utf8.DecodeRuneInString(plain)
	if strings.Trim(plain, string(first)) == "" || usual()[plain] || usual()[strings.TrimRightFunc(plain, notLetter)] {
		return tenant.RefuseField(tenant.Invalid, field, "This password is among the most used ones.")
	}
	for _, name := range names {
		mailbox, _, _ := strings.Cut(name, "@")
		for _, name := range []string{name, mailbox} {
			if name = strings.ToLower(name); name != "" && (plain == name || utf8.RuneCountInString(name) >= 4 && strings.TrimRightFunc(plain, notLetter) == name) {
				return tenant.RefuseField(tenant.Invalid, field, "A password may not be made of the account's own names.")
			}
		}
	}
	return nil
}

func notLetter(r rune) bool { return !unicode.IsLetter(r) }

// usual is the set of the most used passwords, lower-case.
var usual = sync.OnceValue(func() map[string]bool {
	var list struct {
		List []string `json:"list"`
	}
	text, err := data.Asset("data/Passwords.json")
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil || len(list.List) < 7_000 {
		panic(fmt.Sprintf("auth: the list of used passwords is damaged: %v", err))
	}
	set := make(map[string]bool, len(list.List))
	for _, password := range list.List {
		set[strings.ToLower(password)] = true
	}
	return set
})

// mostWaiting is how many passwords of one caller may wait to be hashed.
const mostWaiting = 16

// Hash is the PHC string of a new password. It waits for its turn, or for ctx; a
// caller who has many waiting already is refused with kind TooMany, so that one
// does not keep the others waiting.
func (p *Passwords) Hash(ctx context.Context, caller, password string) (string, error) {
	if err := p.enter(caller); err != nil {
		return "", err
	}
	defer p.leave(caller)
	if err := take(ctx, p.making); err != nil {
		return "", err
	}
	defer func() { <-p.making }()
	return argon2id.CreateHash(password, p.params)
}

// Matches reports whether the password has the hash; "" is nobody's hash and
// takes as long to refuse as a real one.
func (p *Passwords) Matches(ctx context.Context, password, hash string) (bool, error) {
	if err := take(ctx, p.checking); err != nil {
		return false, err
	}
	defer func() { <-p.checking }()
	if hash == "" {
		argon2id.ComparePasswordAndHash(password, p.dummy)
		return false, nil
	}
	return argon2id.ComparePasswordAndHash(password, hash)
}

func (p *Passwords) enter(caller string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[caller] >= mostWaiting {
		return tenant.RefuseField(tenant.TooMany, "password", "Too many passwords are waiting to be hashed.")
	}
	p.waiting[caller]++
	return nil
}

func (p *Passwords) leave(caller string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[caller]--; p.waiting[caller] == 0 {
		delete(p.waiting, caller)
	}
}

func take(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return tenant.Refuse(tenant.Unavailable, "Too many passwords are being checked.")
	}
}
