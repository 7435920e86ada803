package identity

import "testing"

func person(ref, id, family, given, birth string) Person {
	return Person{Ref: ref, Numbers: []Number{{"urn:mrn", id}, {"urn:insurance", "K" + id}}, Names: []Name{{family, []string{given}}}, Birth: birth}
}

func TestJudge(t *testing.T) {
	anna := person("Patient/1", "4711", "Müller", "Anna Maria", "1970-02-03")
	twin := person("Patient/2", "4711", "Müller", "Berta", "1970-02-03")
	namesake := person("Patient/3", "4711", "Müller", "Anna Maria", "1970-02-03")
	order := Order{Study: "1.2.3", Accession: "A1", Person: anna}
	full := Claim{ID: "4711", Name: "MUELLER^ANNA", Birth: "19700203"}
	with := func(change func(*Claim)) Claim { c := full; change(&c); return c }
	for _, c := range []struct {
		name  string
		claim Claim
		k     Knowledge
		want  Result
	}{
		{"all agrees", full, Knowledge{Persons: []Person{anna}}, Result{Match, "", "Patient/1"}},
		{"no birth date in the claim", with(func(c *Claim) { c.Birth = "" }), Knowledge{Persons: []Person{anna}}, Result{Match, "", "Patient/1"}},
		{"no name in the claim", with(func(c *Claim) { c.Name = "" }), Knowledge{Persons: []Person{anna}}, Result{Match, "", "Patient/1"}},
		{"unreadable name", with(func(c *Claim) { c.Name = "M\uFFFDLLER^ANNA" }), Knowledge{Persons: []Person{anna}}, Result{Match, "", "Patient/1"}},
		{"identifier alone", Claim{ID: "4711"}, Knowledge{Persons: []Person{anna}, Asked: true}, Result{Mismatch, OnlyIdentifier, ""}},
		{"another name", with(func(c *Claim) { c.Name = "MEIER^ANNA" }), Knowledge{Persons: []Person{anna}}, Result{Mismatch, NameDiffers, ""}},
		{"another given name", with(func(c *Claim) { c.Name = "MUELLER^BERTA" }), Knowledge{Persons: []Person{anna}}, Result{Mismatch, NameDiffers, ""}},
		{"swapped", with(func(c *Claim) { c.Name = "ANNA^MUELLER" }), Knowledge{Persons: []Person{anna}}, Result{Mismatch, NameSwapped, ""}},
		{"another day", with(func(c *Claim) { c.Birth = "19700302" }), Knowledge{Persons: []Person{anna}}, Result{Mismatch, BirthDiffers, ""}},
		{"twins under one number", full, Knowledge{Persons: []Person{anna, twin}}, Result{Match, "", "Patient/1"}},
		{"twins, no given name", with(func(c *Claim) { c.Name = "MUELLER" }), Knowledge{Persons: []Person{anna, twin}}, Result{Mismatch, Ambiguous, ""}},
		{"the same twice", full, Knowledge{Persons: []Person{anna, namesake}}, Result{Mismatch, Ambiguous, ""}},
		{"neither of two", with(func(c *Claim) { c.Name = "MEIER^EVA" }), Knowledge{Persons: []Person{anna, twin}}, Result{Mismatch, Ambiguous, ""}},
		{"nobody, says the EHR", full, Knowledge{Asked: true}, Result{Unknown, NoSuchPatient, ""}},
		{"nobody here", full, Knowledge{}, Result{Unasked, EHROutOfReach, ""}},
		{"no identifier", Claim{Name: "MUELLER^ANNA", Birth: "19700203"}, Knowledge{Asked: true}, Result{Nobody, NoIdentifier, ""}},
		{"of an order, without identifier", Claim{Accession: "A1"}, Knowledge{Orders: []Order{order}}, Result{Match, "", "Patient/1"}},
		{"of an order, identifier alone", Claim{ID: "K4711", Study: "1.2.3"}, Knowledge{Orders: []Order{order}}, Result{Match, "", "Patient/1"}},
		{"of an order, another's identifier", Claim{ID: "4712", Study: "1.2.3"}, Knowledge{Orders: []Order{order}}, Result{Mismatch, OtherThanOrder, ""}},
		{"of an order, another name", with(func(c *Claim) { c.Name = "MEIER^EVA" }), Knowledge{Orders: []Order{order}}, Result{Mismatch, NameDiffers, ""}},
		{"of two patients' orders", full, Knowledge{Orders: []Order{order, {Person: twin}}}, Result{Mismatch, Ambiguous, ""}},
		{"by reference", Claim{Ref: "Patient/1"}, Knowledge{Persons: []Person{anna}}, Result{Match, "", "Patient/1"}},
		{"by reference and number", Claim{Ref: "Patient/1", ID: "K4711"}, Knowledge{Persons: []Person{anna}}, Result{Match, "", "Patient/1"}},
		{"by reference, another's number", Claim{Ref: "Patient/1", ID: "4712"}, Knowledge{Persons: []Person{anna}}, Result{Mismatch, OtherThanRef, ""}},
		{"by reference, another answered", Claim{Ref: "Patient/2"}, Knowledge{Persons: []Person{anna}}, Result{Mismatch, OtherThanRef, ""}},
		{"by reference, another name", Claim{Ref: "Patient/1", Name: "MEIER^EVA"}, Knowledge{Persons: []Person{anna}}, Result{Mismatch, NameDiffers, ""}},
		{"by reference, nobody", Claim{Ref: "Patient/1"}, Knowledge{Asked: true}, Result{Unknown, NoSuchPatient, ""}},
		{"by reference, EHR away", Claim{Ref: "Patient/1"}, Knowledge{}, Result{Unasked, EHROutOfReach, ""}},
	} {
		if got := Judge(c.claim, c.k); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestIssuer(t *testing.T) {
	a, b := person("Patient/1", "7", "Roe", "Jane", ""), person("Patient/2", "7", "Roe", "Jane", "")
	b.Numbers[0].System = "urn:other"
	claim := Claim{ID: "7", Issuer: "urn:other", Name: "Roe^Jane"}
	if got := Judge(claim, Knowledge{Persons: []Person{a, b}}); got.Ref != "Patient/2" {
		t.Errorf("the issuer's: %+v", got)
	}
	claim.Issuer = "HOSPITAL"
	if got := Judge(claim, Knowledge{Persons: []Person{a, b}}); got.Reason != Ambiguous {
		t.Errorf("an issuer nobody knows: %+v", got)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		claim, family, given string
		want                 sameness
	}{
		{"O'BRIEN^SEAN", "O’Brien", "Seán", nameSame},
		{"OBRIEN^SEAN", "O'Brien", "Sean Patrick", nameSame},
		{"GARCIA MARQUEZ^JOSE", "García-Márquez", "José", nameSame},
		{"GARCIAMARQUEZ^JOSE", "García Márquez", "José", nameSame},
		{"GARCIA^JOSE", "García Márquez", "José", nameDiffers},
		{"MULLER^A", "Müller", "Anna", nameDiffers},
		{"MULLER^ANNA^MARIA^DR", "Müller", "Anna Maria", nameSame},
		{"STRASSE^ANNA", "Straße", "Anna", nameSame},
		{"SMITH JOHN", "Smith", "John", nameSame},
		{"John Smith", "Smith", "John Paul", nameSame},
		{"John Smithson", "Smith", "John", nameDiffers},
		{"SMITH", "Smith", "John", nameSame},
		{"JOHN", "Smith", "John", nameDiffers},
		{"ИВАНОВ^Пётр", "Иванов", "Петр", nameSame},
		{"Yamada^Tarou=山田^太郎=やまだ^たろう", "山田", "太郎", nameSame},
		{"ANNA^MULLER", "Müller", "Anna", nameSwapped},
		{"MANUEL^X", "Manul", "X", nameDiffers},
		{"^", "Smith", "John", nameOpen},
		{"", "Smith", "John", nameOpen},
		{"SMITH^JOHN", "", "", nameOpen},
		{"LEE^LEE", "Lee", "Lee", nameSame},
	} {
		if got := names(c.claim, []Name{{c.family, []string{c.given}}}); got != c.want {
			t.Errorf("%q and %s, %s: got %d, want %d", c.claim, c.family, c.given, got, c.want)
		}
	}
	two := []Name{{"Miller", []string{"Ann"}}, {"Smith", []string{"Ann"}}}
	if names("SMITH^ANN", two) != nameSame {
		t.Error("a name of several was not found")
	}
}

func TestBirths(t *testing.T) {
	for _, c := range []struct {
		claim, known string
		want         birth
	}{
		{"19700203", "1970-02-03", birthSame}, {"19700203", "1970-02", birthOpen}, {"19700203", "1971", birthDiffers},
		{"", "1970-02-03", birthOpen}, {"19700203", "", birthOpen}, {"00000000", "1970-02-03", birthOpen}, {"1970.2.3", "1970-02-03", birthOpen},
	} {
		if got := births(c.claim, c.known); got != c.want {
			t.Errorf("%q and %q: got %d, want %d", c.claim, c.known, got, c.want)
		}
	}
}

// Whatever names say, a verdict is reached, and Match names someone.
func FuzzJudge(f *testing.F) {
	f.Add("4711", "MUELLER^ANNA", "19700203", "Müller", "Anna", "1970-02-03")
	f.Fuzz(func(t *testing.T, id, name, born, family, given, known string) {
		p := Person{Ref: "Patient/1", Numbers: []Number{{"", id}}, Names: []Name{{family, []string{given}}}, Birth: known}
		got := Judge(Claim{ID: id, Name: name, Birth: born}, Knowledge{Persons: []Person{p}, Asked: true})
		if (got.Verdict == Match) != (got.Ref != "") || got.Verdict == 0 {
			t.Fatalf("%+v", got)
		}
	})
}
