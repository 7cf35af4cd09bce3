package tenant

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

func TestCountParts(t *testing.T) {
	if n := utf8.RuneCountInString(gsmAlphabet); n != 127 { // the 128th is the escape
		t.Fatalf("the alphabet has %d characters", n)
	}
	for _, test := range []struct {
		text, wanted string
		encoding     string
		parts        int
	}{
		{"", "", "gsm7", 1},
		{"Hello", "auto", "gsm7", 1},
		{strings.Repeat("x", 160), "", "gsm7", 1},
		{strings.Repeat("x", 161), "", "gsm7", 2},
		{strings.Repeat("x", 306), "", "gsm7", 2},
		{strings.Repeat("x", 307), "", "gsm7", 3},
		{strings.Repeat("€", 80), "", "gsm7", 1},
		{strings.Repeat("€", 81), "", "gsm7", 2},
		{strings.Repeat("€", 152), "", "gsm7", 2}, // 76 in a part, for none is torn apart
		{strings.Repeat("€", 153), "", "gsm7", 3},
		{strings.Repeat("x", 152) + "€" + strings.Repeat("x", 151), "", "gsm7", 2},
		{strings.Repeat("x", 152) + "€" + strings.Repeat("x", 152), "", "gsm7", 3},
		{"çÇ", "", "ucs2", 1},
		{strings.Repeat("я", 70), "", "ucs2", 1},
		{strings.Repeat("я", 71), "", "ucs2", 2},
		{strings.Repeat("я", 134), "", "ucs2", 2},
		{strings.Repeat("я", 135), "", "ucs2", 3},
		{strings.Repeat("😀", 35), "", "ucs2", 1},
		{strings.Repeat("😀", 66), "", "ucs2", 2}, // 33 in a part
		{strings.Repeat("😀", 67), "", "ucs2", 3},
		{strings.Repeat("x", 71), "ucs2", "ucs2", 2},
		{"я", "gsm7", "gsm7", 0},
	} {
		if encoding, parts := CountParts(test.text, test.wanted); encoding != test.encoding || parts != test.parts {
			t.Errorf("%.10q… of %d: %s %d, want %s %d", test.text, utf8.RuneCountInString(test.text), encoding, parts, test.encoding, test.parts)
		}
	}
}

// FuzzParts compares with a slow way that cuts the text up.
func FuzzParts(f *testing.F) {
	for _, seed := range []string{"", "Hello", "€", "😀я", "\x00", "\xff", "[]{}\\~^|", strings.Repeat("€x", 100), strings.Repeat("😀y", 50), "\u00a0", "e\u0301"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, wanted := range []string{"", "auto", "gsm7", "ucs2"} {
			encoding, parts := CountParts(text, wanted)
			size, alone, part := units, ucsAlone, ucsPart
			if encoding == "gsm7" {
				size, alone, part = septets, gsmAlone, gsmPart
			}
			if parts == 0 {
				if wanted != "gsm7" || !strings.ContainsFunc(text, func(r rune) bool { return septets(r) == 0 }) {
					t.Errorf("%q does not fit into %s", text, encoding)
				}
				continue
			}
			if wanted == "ucs2" && encoding != "ucs2" || wanted != "ucs2" && encoding == "ucs2" && !strings.ContainsFunc(text, func(r rune) bool { return septets(r) == 0 }) {
				t.Errorf("%q is %s when %q is wanted", text, encoding, wanted)
			}
			total, sizes := 0, []int{}
			for _, r := range text {
				if encoding == "ucs2" && size(r) != len(utf16.Encode([]rune{r})) {
					t.Errorf("%q takes %d", r, size(r))
				}
				total += size(r)
				sizes = append(sizes, size(r))
			}
			want := 1
			if total > alone {
				want = 0
				for len(sizes) > 0 {
					n, room := 0, part
					for n < len(sizes) && sizes[n] <= room {
						room -= sizes[n]
						n++
					}
					sizes, want = sizes[n:], want+1
				}
			}
			if parts != want {
				t.Errorf("%q takes %d parts of %s, want %d", text, parts, encoding, want)
			}
		}
	})
}

func FuzzCheckMessage(f *testing.F) {
	f.Add("+18445550001", "+18005550101", "", "Hello", "", "", "", "auto", "")
	f.Add("+18445550001", "Example 1", "p", "", "s", "http://example.com/a", "MMS", "", "https://example.com")
	f.Add("+0", "12345", "\x00", "я", "\u202e", "ftp://x", "FAX", "gsm7", "http://\x7f")
	f.Add("", "", "", "", "", "", "", "", "http://")
	f.Fuzz(func(t *testing.T, to, from, profile, text, subject, media, kind, encoding, hook string) {
		c := MessageContent{To: to, From: from, ProfileID: profile, Text: text, Subject: subject, Type: kind, Encoding: encoding, WebhookURL: hook}
		if media != "" {
			c.MediaURLs = strings.Split(media, " ")
		}
		err := CheckMessage(&c)
		if err != nil {
			for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
				var refusal *Error
				if !errors.As(err, &refusal) || refusal.Pointer == "" || refusal.Pointer == "/" || refusal.Error() == "" {
					t.Errorf("%v names no field", err)
				}
			}
			return
		}
		// What is taken can be stored, put on a line of a log, and handed over.
		for _, value := range append([]string{c.To, c.From, c.ProfileID, c.Subject, c.WebhookURL}, c.MediaURLs...) {
			if strings.ContainsFunc(value, isControl) || strings.ContainsRune(value, 0) {
				t.Errorf("%q is taken", value)
			}
		}
		if !IsE164(c.To) || c.From == "" && c.ProfileID == "" || c.Text == "" && len(c.MediaURLs) == 0 || strings.ContainsRune(c.Text, 0) || strings.ContainsRune(c.Text, utf8.RuneError) {
			t.Errorf("%+v is taken", c)
		}
		if c.Parts < 1 || c.Parts > maxParts || c.Type != "SMS" && c.Type != "MMS" || c.Type == "SMS" && c.Encoding != "gsm7" && c.Encoding != "ucs2" || c.Type == "MMS" && c.Encoding != "" {
			t.Errorf("%+v is left open", c)
		}
	})
}

func TestSenders(t *testing.T) {
	for from, kind := range map[string]Kind{
		"+18005550101": -1, "A": -1, "Example Org": -1, "0800CALL": -1, "Twelve chars": Invalid, " A": Invalid, "A-B": Invalid, "Ünal": Invalid, "А": BadNumber,
		"12345": BadNumber, "+1800555": -1, "+180055": NoNumber, "+1234567890123456": NoNumber, "+0123456789": NoNumber, "+": BadNumber, "+1 800 555 0101": BadNumber, " ": BadNumber,
	} {
		err := CheckMessage(&MessageContent{To: "+18445550001", From: from, Text: "x"})
		if kind == -1 && err != nil || kind != -1 && !IsKind(err, kind) {
			t.Errorf("%q: %v", from, err)
		}
	}
}
