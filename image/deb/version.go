package deb

import (
	"cmp"
	"strings"
)

// Compare orders two versions as dpkg does (deb-version(7)): -1, 0 or 1.
func Compare(a, b string) int {
	ea, ua, ra := split(a)
	eb, ub, rb := split(b)
	return cmp.Or(compareNumber(ea, eb), compare(ua, ub), compare(ra, rb))
}

func split(v string) (epoch, upstream, revision string) {
	epoch = "0"
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// compare takes turns: what is no digit by its order, then a number.
func compare(a, b string) int {
	for a != "" || b != "" {
		var wa, wb, na, nb string
		wa, a = cut(a, false)
		wb, b = cut(b, false)
		for i := range max(len(wa), len(wb)) {
			if c := cmp.Compare(order(wa, i), order(wb, i)); c != 0 {
				return c
			}
		}
		na, a = cut(a, true)
		nb, b = cut(b, true)
		if c := compareNumber(na, nb); c != 0 {
			return c
		}
	}
	return 0
}

func cut(s string, digits bool) (head, rest string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9') == digits {
		i++
	}
	return s[:i], s[i:]
}

// order of a letter: the tilde before the end, the end before letters, letters
// before the rest.
func order(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z':
		return int(s[i])
	}
	return int(s[i]) + 256
}

// compareNumber compares decimal numbers of any length.
func compareNumber(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
