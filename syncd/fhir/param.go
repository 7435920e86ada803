package fhir

import "slices"

// Kinds of search parameter (search.html#ptypes).
const (
	KindToken  = "token"
	KindDate   = "date"
	KindString = "string"
	KindRef    = "reference"
)

// A param is a search parameter of a type and the elements it looks at; "a.b" is b
// inside a or inside each of a's.
type param struct {
	name, kind string
	paths      []string
}

// general are the parameters of every searchable type.
var general = [...]param{
	{"_id", KindToken, []string{"id"}},
	{"_lastUpdated", KindDate, []string{"meta.lastUpdated"}},
}

// Parameters that many types have.
var (
	byCode      = param{"code", KindToken, []string{"code"}}
	byCategory  = param{"category", KindToken, []string{"category"}}
	byStatus    = param{"status", KindToken, []string{"status"}}
	byKind      = param{"type", KindToken, []string{"type"}}
	byMedicine  = param{"code", KindToken, []string{"medicationCodeableConcept"}}
	byClinical  = param{"clinical-status", KindToken, []string{"clinicalStatus"}}
	byPeriod    = param{"date", KindDate, []string{"period"}}
	byEffective = param{"date", KindDate, []string{"effectiveDateTime", "effectivePeriod", "effectiveInstant"}}
	byPatient   = param{"patient", KindRef, []string{"subject", "patient"}}
	bySubject   = param{"subject", KindRef, []string{"subject"}}
	ofEncounter = param{"encounter", KindRef, []string{"encounter"}}
	ofMedicine  = param{"medication", KindRef, []string{"medicationReference"}}
	performedBy = param{"performer", KindRef, []string{"performer", "performer.actor"}}
)

// params are the search parameters of each type beside the general ones and the
// patient; the references are for _include alone.
var params = map[string][]param{
	"AllergyIntolerance": {byCode, byCategory, byClinical, {"date", KindDate, []string{"recordedDate"}}, byPatient},
	"Appointment": {byStatus, {"date", KindDate, []string{"start"}}, {"service-type", KindToken, []string{"serviceType"}},
		{"actor", KindRef, []string{"participant.actor"}}, {"patient", KindRef, []string{"participant.actor"}}},
	"CarePlan":      {byCategory, byStatus, byPeriod, byPatient, bySubject, ofEncounter},
	"CareTeam":      {byCategory, byStatus, byPeriod, byPatient, bySubject, ofEncounter},
	"Communication": {byCategory, byStatus, {"sent", KindDate, []string{"sent"}}, byPatient, bySubject, ofEncounter},
	"Condition":     {byCode, byCategory, byClinical, {"onset-date", KindDate, []string{"onsetDateTime", "onsetPeriod"}}, {"recorded-date", KindDate, []string{"recordedDate"}}, byPatient, bySubject, ofEncounter},
	"DiagnosticReport": {byCode, byCategory, byStatus, byEffective, byPatient, bySubject, ofEncounter, performedBy,
		{"result", KindRef, []string{"result"}}},
	"DocumentReference": {byKind, byCategory, byStatus, {"date", KindDate, []string{"date"}}, byPatient, bySubject, {"author", KindRef, []string{"author"}}},
	"Encounter": {byKind, {"class", KindToken, []string{"class"}}, byStatus, byPeriod, byPatient, bySubject,
		{"practitioner", KindRef, []string{"participant.individual"}}, {"service-provider", KindRef, []string{"serviceProvider"}}, {"location", KindRef, []string{"location.location"}}},
	"Goal":                     {byCategory, {"lifecycle-status", KindToken, []string{"lifecycleStatus"}}, {"start-date", KindDate, []string{"startDate"}}, byPatient, bySubject},
	"ImagingStudy":             {{"modality", KindToken, []string{"modality"}}, byStatus, {"started", KindDate, []string{"started"}}, byPatient, bySubject, ofEncounter},
	"Immunization":             {{"vaccine-code", KindToken, []string{"vaccineCode"}}, byStatus, {"date", KindDate, []string{"occurrenceDateTime"}}, byPatient, performedBy},
	"Media":                    {byKind, byStatus, {"created", KindDate, []string{"createdDateTime", "createdPeriod"}}, byPatient, bySubject, ofEncounter},
	"MedicationAdministration": {byMedicine, byStatus, {"effective-time", KindDate, []string{"effectiveDateTime", "effectivePeriod"}}, byPatient, bySubject, ofMedicine},
	"MedicationDispense":       {byMedicine, byStatus, {"whenhandedover", KindDate, []string{"whenHandedOver"}}, byPatient, bySubject, ofMedicine},
	"MedicationRequest": {byMedicine, byCategory, byStatus, {"intent", KindToken, []string{"intent"}}, {"authoredon", KindDate, []string{"authoredOn"}}, byPatient, bySubject, ofEncounter, ofMedicine,
		{"requester", KindRef, []string{"requester"}}},
	"MedicationStatement": {byMedicine, byCategory, byStatus, {"effective", KindDate, []string{"effectiveDateTime", "effectivePeriod"}}, byPatient, bySubject, ofMedicine},
	"Observation":         {byCode, byCategory, byStatus, byEffective, byPatient, bySubject, ofEncounter, performedBy},
	"Procedure":           {byCode, byCategory, byStatus, {"date", KindDate, []string{"performedDateTime", "performedPeriod"}}, byPatient, bySubject, ofEncounter, performedBy},
	"QuestionnaireResponse": {byStatus, {"authored", KindDate, []string{"authored"}}, byPatient, bySubject, ofEncounter,
		{"author", KindRef, []string{"author"}}},
	"RiskAssessment": {{"date", KindDate, []string{"occurrenceDateTime", "occurrencePeriod"}}, byPatient, bySubject, ofEncounter},
	"ServiceRequest": {byCode, byCategory, byStatus, {"intent", KindToken, []string{"intent"}}, {"authored", KindDate, []string{"authoredOn"}},
		{"occurrence", KindDate, []string{"occurrenceDateTime", "occurrencePeriod"}}, byPatient, bySubject, ofEncounter, {"requester", KindRef, []string{"requester"}}},
	"Task": {byCode, byStatus, {"authored-on", KindDate, []string{"authoredOn"}}, {"owner", KindRef, []string{"owner"}}, {"focus", KindRef, []string{"focus"}},
		{"patient", KindRef, []string{"for"}}},
	"Specimen": {byKind, byStatus, {"collected", KindDate, []string{"collection.collectedDateTime", "collection.collectedPeriod"}}, byPatient, bySubject},

	"Patient": {
		{"identifier", KindToken, []string{"identifier"}}, {"name", KindString, []string{"name"}},
		{"family", KindString, []string{"name.family"}}, {"given", KindString, []string{"name.given"}},
		{"birthdate", KindDate, []string{"birthDate"}}, {"gender", KindToken, []string{"gender"}},
		{"general-practitioner", KindRef, []string{"generalPractitioner"}}, {"organization", KindRef, []string{"managingOrganization"}},
	},
}

// finders are the parameters of which a search for patients has at least one.
var finders = [...]string{"_id", "birthdate", "family", "given", "identifier", "name"}

// paramOf finds a parameter of a type.
func paramOf(typ, name string) (param, bool) {
	for _, all := range [][]param{general[:], params[typ]} {
		if i := slices.IndexFunc(all, func(p param) bool { return p.name == name }); i >= 0 {
			return all[i], true
		}
	}
	return param{}, false
}

// Searchable returns the types that can be searched: by their patient, and patients.
func Searchable() []string { return append(slices.Clone(clinical[:]), "Patient") }
