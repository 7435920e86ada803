package serve

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
)

// errPath is a path below Base that stands for nothing here.
var errPath = errors.New("nothing is here")

// parse reads what is behind Base. The operation is known even when the rest is
// wrong: whoever may not read gets told that first.
func parse(rest, rawQuery string) (fhir.Query, grant.Op, error) {
	typ, id, one := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	if !one {
		s, err := fhir.ParseSearch(typ, rawQuery)
		if err != nil {
			return nil, grant.Search, err
		}
		return s, grant.Search, nil
	}
	if id, rest, _ := strings.Cut(id, "/"); rest != "" {
		if strings.HasPrefix(rest, "_history") || strings.HasPrefix(id, "$") || strings.HasPrefix(rest, "$") {
			return nil, grant.Read, fmt.Errorf("%w: versions and operations are not served here so far", errPath)
		}
		return nil, grant.Read, fmt.Errorf("%w: want %s/Type/id or %s/Type?patient=id", errPath, Base, Base)
	}
	ref, err := fhir.ParseRef(typ, id)
	if err != nil {
		return nil, grant.Read, err
	}
	return ref, grant.Read, nil
}

func acceptable(r *http.Request) error {
	query, _ := url.ParseQuery(r.URL.RawQuery) // what can't be read is parse's to refuse
	return fhir.Acceptable(query.Get("_format"), strings.Join(r.Header.Values("Accept"), ","))
}

// what names the thing asked for, in the trail.
func what(q fhir.Query, rest string) string {
	if q != nil {
		return q.Key()
	}
	if len(rest) > 128 {
		rest = rest[:128]
	}
	return "?" + rest
}

// refused answers a request that could not be understood.
func refused(err error) answer {
	switch {
	case errors.Is(err, fhir.ErrFormat):
		return failure(http.StatusNotAcceptable, fhir.CodeNotSupported, err.Error())
	case errors.Is(err, fhir.ErrType), errors.Is(err, errPath):
		return failure(http.StatusNotFound, fhir.CodeNotFound, err.Error())
	case errors.Is(err, fhir.ErrParam):
		return failure(http.StatusBadRequest, fhir.CodeNotSupported, err.Error())
	}
	return failure(http.StatusBadRequest, fhir.CodeInvalid, err.Error())
}
