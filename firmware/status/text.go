package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// plain pairs letters of the clinics' languages with what a 7-bit terminal shows.
var plain = strings.NewReplacer(
	"á", "a", "à", "a", "ä", "a", "å", "a", "ã", "a", "â", "a", "é", "e", "è", "e", "ê", "e", "ë", "e",
	"í", "i", "ì", "i", "ï", "i", "î", "i", "ó", "o", "ò", "o", "ö", "o", "õ", "o", "ô", "o", "ø", "o",
	"ú", "u", "ù", "u", "ü", "u", "û", "u", "ñ", "n", "ç", "c", "æ", "ae", "ß", "ss",
	"Á", "A", "À", "A", "Ä", "A", "Å", "A", "Ã", "A", "Â", "A", "É", "E", "È", "E", "Ê", "E", "Í", "I",
	"Ó", "O", "Ö", "O", "Õ", "O", "Ô", "O", "Ø", "O", "Ú", "U", "Ü", "U", "Ñ", "N", "Ç", "C",
	"…", "...", "–", "-", "—", "-", "‘", "'", "’", "'", "“", `"`, "”", `"`, "→", "->",
)

// ascii makes text safe for a serial terminal: printable 7-bit characters only,
// so that nothing a provider or a card says can move the cursor. Line ends become
// blanks, anything else unknown a question mark.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, plain.Replace(s))
}

// cut shortens text to n columns and shows that it did.
func cut(s string, n int) string {
	switch {
	case len(s) <= n:
		return s
	case n < 4:
		return s[:max(n, 0)]
	}
	return s[:n-3] + "..."
}

// wrap breaks text at blanks into lines of at most n columns.
func wrap(s string, n int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > n {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		line += cut(word, n)
	}
	return append(out, line)
}

// age is the time since t in one unit, two for days: "4s", "12m", "3h", "12d4h".
func age(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 0: // a clock was set
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// ago is age in a sentence.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return age(t, now) + " ago"
}

// size writes bytes in decimal units.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
