package serve

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
)

// errPath is a path below Base that stands for nothing here.
var errPath = errors.New("nothing is here")

// An inquiry is one request as it came, alone or in a batch.
type inquiry struct {
	method string
	rest   string // path below Base
	query  string
	same   string // If-None-Match
	since  string // If-Modified-Since
	prefer string
	accept error // what it wants to have back is not spoken here
}

// lenient says whether unknown parameters shall be left out (http.html#prefer).
func (in inquiry) lenient() bool {
	return strings.Contains(strings.ReplaceAll(in.prefer, " ", ""), "handling=lenient")
}

// inquire reads a request. A search by POST is the same as one by GET.
func inquire(r *http.Request, rest string) (inquiry, error) {
	in := inquiry{
		method: r.Method, rest: strings.TrimSuffix(rest, "/"), query: r.URL.RawQuery, same: r.Header.Get("If-None-Match"),
		since: r.Header.Get("If-Modified-Since"), prefer: strings.Join(r.Header.Values("Prefer"), ","), accept: acceptable(r),
	}
	typ, ok := strings.CutSuffix(in.rest, "/_search")
	if !ok {
		return in, nil
	}
	in.rest = typ
	if in.method != http.MethodPost {
		return in, fmt.Errorf("%w: want POST to %s", errPath, "_search")
	}
	in.method = http.MethodGet
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" && r.ContentLength != 0 {
		return in, fmt.Errorf("%w: want a search as application/x-www-form-urlencoded", errMedia)
	}
	form, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil || len(form) > maxForm {
		return in, fmt.Errorf("%w: the form did not come whole, or is longer than %d bytes", fhir.ErrParam, maxForm)
	}
	in.query = strings.Trim(in.query+"&"+string(form), "&")
	return in, nil
}

// maxForm bounds the parameters of a search by POST, in bytes.
const maxForm = 8 << 10

// errMedia is a request's body of a kind that is not spoken here.
var errMedia = errors.New("content not spoken here")

// parse reads what is behind Base. The operation is known even when the rest is
// wrong: whoever may not read gets told that first.
func parse(in inquiry) (fhir.Query, grant.Op, error) {
	part := strings.Split(in.rest, "/")
	if len(part) == 1 {
		search := fhir.ParseSearch
		if in.lenient() {
			search = fhir.ParseLenient
		}
		s, err := search(part[0], in.query)
		if err != nil {
			return nil, grant.Search, err
		}
		return s, grant.Search, nil
	}
	ref, err := fhir.ParseRef(part[0], part[1])
	var q fhir.Query = ref
	switch {
	case err != nil && !strings.HasPrefix(part[1], "$"):
	case len(part) == 2 && err == nil:
	case len(part) == 3 && part[2] == "_history":
		q, err = checked(fhir.ParseHistory(ref, in.query))
	case len(part) == 4 && part[2] == "_history":
		q, err = checked(fhir.ParseVersion(ref, part[3]))
	case len(part) == 3 && part[2] == "$everything":
		q, err = checked(fhir.ParseEverything(ref, in.query))
	case strings.HasPrefix(part[len(part)-1], "$"):
		err = fmt.Errorf("%w: the one operation here is Patient/ID/$everything", errPath)
	default:
		err = fmt.Errorf("%w: want %s/Type/id or %s/Type?patient=id", errPath, Base, Base)
	}
	if err != nil {
		return nil, grant.Read, err
	}
	return q, grant.Read, nil
}

func checked[Q fhir.Query](q Q, err error) (fhir.Query, error) { return q, err }

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
	var p *problem
	switch {
	case errors.As(err, &p):
		return failure(p.status, p.code, p.text)
	case errors.Is(err, fhir.ErrFormat):
		return failure(http.StatusNotAcceptable, fhir.CodeNotSupported, err.Error())
	case errors.Is(err, fhir.ErrType), errors.Is(err, errPath):
		return failure(http.StatusNotFound, fhir.CodeNotFound, err.Error())
	case errors.Is(err, errMedia):
		return failure(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, err.Error())
	case errors.Is(err, fhir.ErrParam):
		return failure(http.StatusBadRequest, fhir.CodeNotSupported, err.Error())
	}
	return failure(http.StatusBadRequest, fhir.CodeInvalid, err.Error())
}
