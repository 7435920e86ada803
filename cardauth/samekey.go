package main

import (
	"errors"
	"path/filepath"
	"strings"

	"clinicgate/cardauth/known"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

const faultKeys = "card.keys"

// A keybook is the book of known keys in this program's words: professionals by
// their number, patients by their pseudonym.
type keybook struct {
	env  *daemon.Env
	book *known.Book
	key  []byte // of patients' pseudonyms
}

// openKeybook reads what is known. A damaged book locks nobody out: what can be
// read of it counts.
func openKeybook(env *daemon.Env, patientKey []byte) *keybook {
	k := &keybook{env: env, key: patientKey}
	// With another key of pseudonyms everybody's has changed: those made with an
	// earlier one say nothing.
	counts := func(subject string) bool {
		return !strings.HasPrefix(subject, ofPatients) || strings.HasPrefix(subject, k.patients())
	}
	book, err := known.Open(filepath.Join(env.State, "keys.seen"), counts)
	k.book = book
	k.say(err)
	return k
}

const ofPatients = "patient "

// patients is how subjects begin that are patients under the key of pseudonyms in
// use.
func (k *keybook) patients() string { return ofPatients + wire.Pseudonym(k.key, "")[:8] + " " }

func (k *keybook) subject(h trust.Holder) string {
	if h.Role == wire.RolePatient {
		return k.patients() + wire.Pseudonym(k.key, h.Registration)
	}
	return "professional " + h.Registration
}

// Check says whether the key was somebody else's.
func (k *keybook) Check(h trust.Holder) error { return k.book.Check(h.Key, k.subject(h)) }

// Remember keeps whose the key is. That it can't is a fault, and no reason to send
// a doctor away.
func (k *keybook) Remember(h trust.Holder) {
	if err := k.book.Remember(h.Key, k.subject(h)); !errors.Is(err, known.ErrOther) {
		k.say(err)
	}
}

func (k *keybook) say(err error) {
	if err == nil {
		return
	}
	k.env.Faults.Raise(wire.Fault{ID: faultKeys, Severity: wire.Warning, Where: "keys.seen", What: err.Error(),
		Do: "mend the disk or bring keys.seen back from a backup, then restart; until then two cards of one key may both be taken"})
}
