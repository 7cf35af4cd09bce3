package httpapi

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spreadHash reads a Ruby hash as Ruby prints it, {:email=>{:contains=>"x"}} or,
// since Ruby 3.4, {email: {contains: "x"}}, and adds what is in it under bracket
// names: filter[email][contains]=x.
func spreadHash(name, text string, into url.Values) error {
	p := hashParser{rest: text, into: into}
	if err := p.hash(name, 0); err != nil {
		return err
	}
	if p.rest != "" {
		return errHash
	}
	return nil
}

var errHash = errors.New("not a printed hash")

// deepestHash is far more than any SDK nests.
const deepestHash = 4

type hashParser struct {
	rest string
	into url.Values
}

func (p *hashParser) skip(token string) bool {
	p.rest = strings.TrimLeft(p.rest, " ")
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = strings.TrimLeft(rest, " ")
	}
	return ok
}

func (p *hashParser) hash(name string, depth int) error {
	if depth > deepestHash || !p.skip("{") {
		return errHash
	}
	if p.skip("}") {
		return nil
	}
	for {
		key, err := p.key()
		if err != nil {
			return err
		}
		full := name + "[" + key + "]"
		if strings.HasPrefix(p.rest, "{") {
			err = p.hash(full, depth+1)
		} else {
			err = p.value(full)
		}
		if err != nil {
			return err
		}
		if p.skip("}") {
			return nil
		}
		if !p.skip(",") {
			return errHash
		}
	}
}

// key is :word=>, "word"=> or word: .
func (p *hashParser) key() (key string, err error) {
	switch {
	case strings.HasPrefix(p.rest, `"`):
		if key, err = p.quoted(); err != nil {
			return "", err
		}
		if !p.skip("=>") && !p.skip(":") {
			return "", errHash
		}
	case p.skip(":"):
		key = p.word()
		if !p.skip("=>") {
			return "", errHash
		}
	default:
		key = p.word()
		if !p.skip(":") {
			return "", errHash
		}
	}
	if key == "" {
		return "", errHash
	}
	return key, nil
}

// word is a run of letters, digits, signs and dots: a name, number or boolean.
func (p *hashParser) word() string {
	n := 0
	for n < len(p.rest) && (isWord(p.rest[n])) {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	return word
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *hashParser) value(name string) error {
	if strings.HasPrefix(p.rest, `"`) {
		value, err := p.quoted()
		if err == nil {
			p.into.Add(name, value)
		}
		return err
	}
	p.skip(":")
	word := p.word()
	switch word {
	case "":
		return errHash
	case "nil":
		return nil
	}
	p.into.Add(name, word)
	return nil
}

// quoted is a Ruby string literal with the escapes that inspect writes.
func (p *hashParser) quoted() (string, error) {
	var out strings.Builder
	s := p.rest[1:]
	for {
		if s == "" {
			return "", errHash
		}
		c := s[0]
		if c == '"' {
			p.rest = s[1:]
			break
		}
		if c != '\\' {
			out.WriteByte(c)
			s = s[1:]
			continue
		}
		if len(s) < 2 {
			return "", errHash
		}
		c, s = s[1], s[2:]
		switch c {
		case 'n', 't', 'r', 'e', 'a', 'b', 'f', 'v':
			out.WriteByte("\n\t\r\x1b\a\b\f\v"[strings.IndexByte("ntreabfv", c)])
		case 'u':
			digits, rest, ok := s, "", false
			if strings.HasPrefix(s, "{") {
				digits, rest, ok = strings.Cut(s[1:], "}")
			} else if len(s) >= 4 {
				digits, rest, ok = s[:4], s[4:], true
			}
			n, err := strconv.ParseUint(digits, 16, 32)
			if !ok || err != nil || !utf8.ValidRune(rune(n)) {
				return "", errHash
			}
			out.WriteRune(rune(n))
			s = rest
		case 'x':
			if len(s) < 2 {
				return "", errHash
			}
			n, err := strconv.ParseUint(s[:2], 16, 8)
			if err != nil {
				return "", errHash
			}
			out.WriteByte(byte(n))
			s = s[2:]
		default:
			out.WriteByte(c) // \" \\ \#
		}
	}
	if !utf8.ValidString(out.String()) || strings.ContainsRune(out.String(), 0) {
		return "", errHash
	}
	return out.String(), nil
}
