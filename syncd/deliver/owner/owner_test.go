package owner

import (
	"context"
	"errors"
	"testing"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/queue"
)

// known answers with what the test says.
type known identity.Knowledge

func (k known) Know(context.Context, identity.Claim) identity.Knowledge { return identity.Knowledge(k) }

// destination remembers what it was sent.
type destination struct{ sent []queue.Item }

func (d *destination) Send(_ context.Context, it queue.Item, _ bool, _ deliver.Body) (string, error) {
	d.sent = append(d.sent, it)
	return "stored", nil
}

func TestSend(t *testing.T) {
	anna := identity.Person{Ref: "Patient/1", Numbers: []identity.Number{{Value: "7"}}, Names: []identity.Name{{Family: "Roe", Given: []string{"Anna"}}}}
	named := func(name string) queue.Item {
		return queue.Item{Meta: map[string]string{queue.MetaPatientID: "7", queue.MetaPatientName: name}}
	}
	released := named("Doe^John")
	released.Released = "console"
	for _, c := range []struct {
		name    string
		item    queue.Item
		known   identity.Knowledge
		matched bool
		kind    deliver.Kind
		sent    bool
		ref     string
	}{
		{"known", named("Roe^Anna"), identity.Knowledge{Persons: []identity.Person{anna}}, true, 0, true, "Patient/1"},
		{"another name", named("Doe^John"), identity.Knowledge{Persons: []identity.Person{anna}}, false, deliver.Refused, false, ""},
		{"released by a person", released, identity.Knowledge{Persons: []identity.Person{anna}}, true, 0, true, ""},
		{"unknown, it matches by itself", named("Roe^Anna"), identity.Knowledge{Asked: true}, false, 0, true, ""},
		{"unknown", named("Roe^Anna"), identity.Knowledge{Asked: true}, true, deliver.Refused, false, ""},
		{"EHR away, it matches by itself", named("Roe^Anna"), identity.Knowledge{}, false, 0, true, ""},
		{"EHR away", named("Roe^Anna"), identity.Knowledge{}, true, deliver.Pending, false, ""},
		{"names nobody", queue.Item{}, identity.Knowledge{Asked: true}, true, deliver.Refused, false, ""},
	} {
		d := &destination{}
		s := &Sender{Sender: d, Known: known(c.known), Matched: c.matched, Same: true}
		_, err := s.Send(t.Context(), c.item, false, nil)
		var f *deliver.Failure
		if got := len(d.sent) == 1; got != c.sent || (err == nil) != c.sent || errors.As(err, &f) && f.Kind != c.kind {
			t.Errorf("%s: sent %v, %v", c.name, got, err)
		}
		if c.sent && d.sent[0].Meta[queue.MetaPatientRef] != c.ref {
			t.Errorf("%s: reference %q, want %q", c.name, d.sent[0].Meta[queue.MetaPatientRef], c.ref)
		}
	}
}
