package tenant

import "strings"

// The alphabet of GSM 03.38 and the table beside it, whose characters take an escape
// first and so count twice.
const (
	gsmAlphabet = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "\f^{}\\[~]|€"
)

// How much fits into an SMS alone, and into each part of a longer one, whose header
// takes some of it: septets of GSM-7, and UTF-16 units.
const (
	gsmAlone, gsmPart = 160, 153
	ucsAlone, ucsPart = 70, 67
)

// CountParts is how many SMS a text takes, at least 1, and in which encoding: gsm7 or
// ucs2. wanted is one of them, or "" or auto for the one that the text fits into; 0
// parts means that it does not fit into the one that was wanted. No character is torn
// apart: what needs two units goes into the next part as a whole.
func CountParts(text, wanted string) (encoding string, parts int) {
	if wanted != "ucs2" {
		if parts := pack(text, gsmAlone, gsmPart, septets); parts > 0 {
			return "gsm7", parts
		}
		if wanted == "gsm7" {
			return wanted, 0
		}
	}
	return "ucs2", pack(text, ucsAlone, ucsPart, units)
}

// septets is what a character takes in GSM-7; 0 means that it is not there.
func septets(r rune) int {
	switch {
	case strings.ContainsRune(gsmAlphabet, r):
		return 1
	case strings.ContainsRune(gsmExtended, r):
		return 2
	}
	return 0
}

// units is what a character takes in UTF-16.
func units(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// pack is how many parts the text takes, 0 when one of its characters has no size.
func pack(text string, alone, part int, size func(rune) int) int {
	total, parts, used := 0, 1, 0
	for _, r := range text {
		n := size(r)
		if n == 0 {
			return 0
		}
		total += n
		if used += n; used > part {
			parts, used = parts+1, n
		}
	}
	if total <= alone {
		return 1
	}
	return parts
}
