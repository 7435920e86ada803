package fhir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// MaxBatch bounds the requests of one batch.
const MaxBatch = 100

// A Request is one entry of a batch or transaction.
type Request struct {
	Method   string
	URL      string // relative to the base
	NoneSame string // ifNoneMatch
	Since    string // ifModifiedSince
	// Of a change:
	Match     string // ifMatch
	NoneExist string // ifNoneExist
	FullURL   string // by which other entries refer to it
	Resource  []byte
}

// Reads says whether it only asks.
func (r Request) Reads() bool { return r.Method == "GET" || r.Method == "HEAD" }

// ParseBatch reads a Bundle of requests. whole says that it is a transaction: all
// of it or nothing.
func ParseBatch(body []byte) (requests []Request, whole bool, err error) {
	m, err := members(body, "resourceType", "type", "entry")
	if err != nil {
		return nil, false, err
	}
	kind, _ := text(m["type"])
	if t, _ := text(m["resourceType"]); t != "Bundle" || kind != "batch" && kind != "transaction" {
		return nil, false, fmt.Errorf("%w: want a Bundle of type batch or transaction", ErrBody)
	}
	entries, err := list(m["entry"], "Bundle.entry")
	if err != nil {
		return nil, false, err
	}
	if len(entries) > MaxBatch {
		return nil, false, fmt.Errorf("%w: got a Bundle of %d requests, want at most %d", ErrBody, len(entries), MaxBatch)
	}
	for i, raw := range entries {
		r, err := parseRequest(raw)
		if err != nil {
			return nil, false, fmt.Errorf("entry %d: %w", i, err)
		}
		requests = append(requests, r)
	}
	return requests, kind == "transaction", nil
}

func parseRequest(raw json.RawMessage) (Request, error) {
	m, err := members(raw, "request", "resource", "fullUrl")
	if err != nil {
		return Request{}, err
	}
	if m["request"] == nil {
		return Request{}, fmt.Errorf("%w: want a request", ErrBody)
	}
	r := Request{Resource: m["resource"]}
	if m["fullUrl"] != nil {
		if r.FullURL, err = text(m["fullUrl"]); err != nil {
			return Request{}, err
		}
	}
	if m, err = members(m["request"], "method", "url", "ifNoneMatch", "ifModifiedSince", "ifMatch", "ifNoneExist"); err != nil {
		return Request{}, err
	}
	for name, into := range map[string]*string{
		"method": &r.Method, "url": &r.URL, "ifNoneMatch": &r.NoneSame, "ifModifiedSince": &r.Since, "ifMatch": &r.Match, "ifNoneExist": &r.NoneExist,
	} {
		if m[name] == nil {
			continue
		}
		if *into, err = text(m[name]); err != nil {
			return Request{}, err
		}
	}
	r.URL = strings.TrimPrefix(r.URL, "/")
	if r.Method == "" || r.URL == "" || len(r.URL) > 2*maxQuery {
		return Request{}, fmt.Errorf("%w: want request.method and request.url", ErrBody)
	}
	return r, nil
}

// A Response is the answer to one entry.
type Response struct {
	Status   int
	ETag     string
	Modified string // an instant
	Location string // of what was made
	Body     []byte // a resource or an OperationOutcome; nil: none
}

// JoinResponses makes the answer to a batch or transaction.
func JoinResponses(whole bool, all []Response) []byte {
	var b bytes.Buffer
	kind := "batch-response"
	if whole {
		kind = "transaction-response"
	}
	fmt.Fprintf(&b, `{"resourceType":"Bundle","type":"%s"`, kind)
	for i, r := range all {
		if i == 0 {
			b.WriteString(`,"entry":[`)
		} else {
			b.WriteByte(',')
		}
		b.WriteByte('{')
		failed := r.Status >= 400 && r.Body != nil
		if r.Body != nil && !failed {
			fmt.Fprintf(&b, `"resource":%s,`, r.Body)
		}
		fmt.Fprintf(&b, `"response":{"status":"%s"`, strconv.Itoa(r.Status))
		for _, f := range [][2]string{{"etag", r.ETag}, {"lastModified", r.Modified}, {"location", r.Location}} {
			if f[1] != "" {
				v, _ := json.Marshal(f[1]) // a string
				fmt.Fprintf(&b, `,"%s":%s`, f[0], v)
			}
		}
		if failed {
			fmt.Fprintf(&b, `,"outcome":%s`, r.Body)
		}
		b.WriteString(`}}`)
		if i == len(all)-1 {
			b.WriteByte(']')
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}
