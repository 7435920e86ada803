package identity

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Name is one of a patient's names, given names in their order.
type Name struct {
	Family string
	Given  []string
}

type sameness int

const (
	nameOpen sameness = iota // one of them has none that can be read
	nameSame
	nameDiffers
	nameSwapped
)

// names compares a name as a device has it with all names of a patient. A DICOM
// name may have three groups, alphabetic, ideographic and phonetic; one that agrees
// is enough, for an EHR seldom has all.
func names(claim string, known []Name) sameness {
	best := nameOpen
	for group := range strings.SplitSeq(claim, "=") {
		if strings.ContainsRune(group, '\uFFFD') || len(words(group)) == 0 {
			continue
		}
		for _, n := range known {
			switch got := oneName(group, n); {
			case got == nameSame:
				return nameSame
			case got == nameSwapped || best == nameOpen:
				best = got
			}
		}
	}
	return best
}

// oneName compares one group with one name. With a caret it says which is the
// family's name; without one it is a name alone or free text in any order.
func oneName(claim string, n Name) sameness {
	if len(words(n.Family)) == 0 && len(words(strings.Join(n.Given, " "))) == 0 {
		return nameOpen
	}
	family, rest, ordered := strings.Cut(claim, "^")
	if !ordered {
		return freeText(claim, n)
	}
	given := strings.Join(strings.SplitN(rest, "^", 3)[:min(2, 1+strings.Count(rest, "^"))], " ") // given and middle
	switch {
	case sameWords(words(family), words(n.Family)) && sameGiven(words(given), words(strings.Join(n.Given, " "))):
		return nameSame
	case sameGiven(words(family), words(strings.Join(n.Given, " "))) && sameWords(words(given), words(n.Family)) && len(words(given)) > 0:
		return nameSwapped
	}
	return nameDiffers
}

// freeText compares a name of which nobody says which part is which: family name
// and first given name must be in it, and nothing that the patient is not called.
func freeText(claim string, n Name) sameness {
	got, family, given := words(claim), words(n.Family), words(strings.Join(n.Given, " "))
	if sameWords(got, family) {
		return nameSame // a family name alone
	}
	for _, w := range slices.Concat(family, given[:min(1, len(given))]) {
		if !slices.ContainsFunc(got, w.is) {
			return nameDiffers
		}
	}
	for _, w := range got {
		if !slices.ContainsFunc(slices.Concat(family, given), w.is) {
			return nameDiffers
		}
	}
	return nameSame
}

// A word is a word of a name in up to two spellings: without its marks, and with
// German letters written out (Müller: muller, mueller).
type word struct{ plain, long string }

func (a word) is(b word) bool {
	return a.plain == b.plain || a.plain == b.long || a.long == b.plain || a.long == b.long
}

// written out are letters that lose more than a mark.
var writtenOut = strings.NewReplacer("ß", "ss", "æ", "ae", "œ", "oe", "ø", "o", "đ", "d", "ð", "d", "þ", "th", "ł", "l", "ı", "i")
var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "å", "aa", "ø", "oe")

// words splits a name into its words, without case, marks, titles' dots, hyphens
// and apostrophes.
func words(s string) []word {
	s = norm.NFC.String(strings.ToLower(s))
	var all []word
	for _, f := range strings.FieldsFunc(apostrophes.Replace(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) }) {
		all = append(all, word{unmarked(writtenOut.Replace(f)), unmarked(writtenOut.Replace(umlauts.Replace(f)))})
	}
	return all
}

// apostrophes are part of a word: O'Brien is OBRIEN where a device has no mark.
var apostrophes = strings.NewReplacer("'", "", "’", "", "`", "", "ʼ", "")

func unmarked(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(s))
}

// sameWords compares family names: all words in their order, or run together.
func sameWords(a, b []word) bool {
	if len(a) == len(b) && len(a) > 0 {
		same := true
		for i := range a {
			same = same && a[i].is(b[i])
		}
		if same {
			return true
		}
	}
	return len(a) > 0 && len(b) > 0 && joined(a).is(joined(b))
}

func joined(ws []word) (j word) {
	for _, w := range ws {
		j.plain += w.plain
		j.long += w.long
	}
	return j
}

// sameGiven compares given names: the shorter list must begin the longer one, for
// devices leave later ones out. A given name that one side lacks is not compared.
func sameGiven(a, b []word) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	n := min(len(a), len(b))
	return sameWords(a[:n], b[:n]) || sameWords(a, b)
}
