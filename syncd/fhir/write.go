package fhir

import (
	"slices"
	"strings"
)

// A Change is one request by which a resource is made or changed at the EHR.
type Change struct {
	Ref       Ref    // its id is empty when it is to be made
	Body      []byte // the resource
	Base      string // the version it changes, for If-Match
	NoneExist string // of what is to be made: the search that finds it if it is there already
}

// Written is the EHR's word that a change is made.
type Written struct {
	Ref     Ref
	Version string
	Found   bool   // it was to be made and was there already
	Answer  Answer // its body is nil where the EHR did not send one
}

// ETag is a version as HTTP carries it (http.html#versioning).
func ETag(version string) string { return `W/"` + version + `"` }

// VersionOf reads one version out of If-Match or ETag; empty when it is not one.
func VersionOf(etag string) string {
	v := strings.TrimPrefix(strings.TrimSpace(etag), "W/")
	if len(v) < 3 || v[0] != '"' || v[len(v)-1] != '"' || !isID(v[1:len(v)-1]) {
		return ""
	}
	return v[1 : len(v)-1]
}

// IsVersion says whether s can be a version's id.
func IsVersion(s string) bool { return isID(s) }

// Resolve reads a reference to a resource of the server at base; zero when it is none.
func Resolve(reference, base string) Ref {
	ref, err := resolveRef(reference, base)
	if err != nil {
		return Ref{}
	}
	return ref
}

// writable are the types that are a patient's and carry identifiers in a list, sorted:
// what is made here is found again by one of ours.
var writable = [...]string{
	"AllergyIntolerance", "Appointment", "BodyStructure", "CarePlan", "CareTeam", "ChargeItem", "ClinicalImpression",
	"Communication", "CommunicationRequest", "Condition", "Consent", "Coverage", "DetectedIssue", "DeviceRequest",
	"DeviceUseStatement", "DiagnosticReport", "DocumentManifest", "DocumentReference", "Encounter", "EpisodeOfCare",
	"FamilyMemberHistory", "Flag", "Goal", "GuidanceResponse", "ImagingStudy", "Immunization", "List", "Media",
	"MedicationAdministration", "MedicationDispense", "MedicationRequest", "MedicationStatement", "NutritionOrder",
	"Observation", "Patient", "Procedure", "RelatedPerson", "RequestGroup", "RiskAssessment", "ServiceRequest",
	"Specimen", "Task", "VisionPrescription",
}

// IsWritable says whether resources of a type are made and changed here.
func IsWritable(typ string) bool {
	_, ok := slices.BinarySearch(writable[:], typ)
	return ok
}
