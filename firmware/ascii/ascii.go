// Package ascii writes for a serial terminal: whatever it is given, what comes out
// is printable 7-bit text, shortened or broken to columns, and ages and quantities
// take few characters.
package ascii

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

// Text makes text safe for a serial terminal: printable 7-bit characters only,
// so that nothing a provider or a card says can move the cursor. Line ends become
// blanks, anything else unknown a question mark.
func Text(s string) string {
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

// Cut shortens text to n columns and shows that it did.
func Cut(s string, n int) string {
	switch {
	case len(s) <= n:
		return s
	case n < 4:
		return s[:max(n, 0)]
	}
	return s[:n-3] + "..."
}

// Wrap breaks text at blanks into lines of at most n columns.
func Wrap(s string, n int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > n {
			out, line = append(out, line), ""
		}
		if line != "" {
			line += " "
		}
		line += Cut(word, n)
	}
	return append(out, line)
}

// Age is the time since t in one unit, two for days: "4s", "12m", "3h", "12d4h".
func Age(t, now time.Time) string {
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

// Ago is Age in a sentence.
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return Age(t, now) + " ago"
}

// Size writes bytes in decimal units.
func Size(n int64) string {
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

// Rate writes bits a second in thousands, as providers do.
func Rate(bps float64) string { return Thousands(bps, "") }

// Volume is Rate for bytes.
func Volume(n uint64) string { return Thousands(float64(n), "B") }

// Thousands writes a quantity in the largest unit of which there is a whole one.
func Thousands(v float64, unit string) string {
	for _, p := range []struct {
		letter string
		factor float64
	}{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if v >= p.factor {
			return fmt.Sprintf("%.1f%s%s", v/p.factor, p.letter, unit)
		}
	}
	return fmt.Sprintf("%.0f%s", v, unit)
}
