package serve

import (
	"encoding/json"
	"strconv"
	"strings"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
)

// Systems of the tags by which a Bundle says how good it is.
const (
	freshnessTag    = "urn:clinicgate:freshness"
	completenessTag = "urn:clinicgate:completeness"
)

// view is how the answer to a question of many resources is shown: its page, and
// what must be said of its age and its gaps.
func view(q fhir.Query, res cache.Result, self string) (fhir.View, bool) {
	v := fhir.View{Kind: fhir.KindSearch, Base: self, Self: self + "/" + q.Key()}
	var ignored []string
	switch q := q.(type) {
	case fhir.Search:
		v.Window, ignored = q.Window, q.Ignored
	case fhir.Everything:
		v.Window = q.Window
	case fhir.History:
		v.Window, v.Kind, v.Base = q.Window, fhir.KindHistory, ""
		return v, true // a history has no entries but versions
	default:
		return v, false
	}
	fresh, complete := "fresh", "complete"
	var remarks []string
	if res.How == cache.Stale {
		fresh = "stale"
		remarks = append(remarks, "As of "+stamp(res.At)+": the EHR could not be asked since ("+res.Why+"). Newer entries may be missing.")
	}
	if res.Partial != "" {
		complete = "partial"
		remarks = append(remarks, "Not complete: "+res.Partial)
	}
	if len(ignored) > 0 {
		remarks = append(remarks, "Left out of the search as not known here: "+strings.Join(ignored, ", "))
	}
	v.Tags = []fhir.Tag{{System: freshnessTag, Code: fresh, Display: "as of " + stamp(res.At)}, {System: completenessTag, Code: complete}}
	if res.Pending > 0 {
		v.Tags = append(v.Tags, fhir.Tag{System: pending.PendingSystem, Code: "pending", Display: strconv.Itoa(res.Pending) + " not at the EHR yet"})
	}
	if len(remarks) > 0 {
		v.Extra = json.RawMessage(fhir.Remark(fhir.CodeInformation, strings.Join(remarks, " ")))
	}
	return v, true
}
