// Package submission reads what is handed in as FHIR: a transaction Bundle of new
// resources, or one of them. Its guarantee: what Parse returns is about exactly one
// patient, holds what FHIR R4 wants of its resources as far as it is checked here,
// and is ready to be sent as one transaction that can be sent again without making
// anything twice: each resource has an id of its own before it leaves, made from
// the sender and the content. All else in a resource stays byte by byte.
//
// It is pure: bytes in, values out.
package submission

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/tree"
)

// MaxEntries bounds the resources of a submission.
const MaxEntries = 64

// Submission is what was handed in.
type Submission struct {
	Refs    []fhir.Ref // the resources, by the ids they have from now on
	Single  bool       // it was one resource, no Bundle
	Subject Subject
	Urgent  bool   // someone waits for it now
	Body    []byte // the transaction
}

// Subject is whose it is, as the resources say.
type Subject struct {
	Ref    fhir.Ref // at the EHR; empty: only Number
	System string   // of Number
	Number string
	Name   string // Reference.display, where there is no Ref
}

// Problem is why a submission is refused. It quotes nobody's data.
type Problem struct {
	Code  string // of an OperationOutcome
	Where string // FHIRPath: "Bundle.entry[2].resource.subject"
	What  string
}

// Error says where and what.
func (p *Problem) Error() string {
	if p.Where == "" {
		return p.What
	}
	return p.Where + ": " + p.What
}

// Codes of OperationOutcome (valueset-issue-type.html).
const (
	codeStructure = "structure"
	codeRequired  = "required"
	codeValue     = "value"
	codeRule      = "business-rule"
	codeNo        = "not-supported"
)

func problem(code, where, format string, args ...any) *Problem {
	return &Problem{code, where, fmt.Sprintf(format, args...)}
}

// entry is a resource on its way through.
type entry struct {
	at       string // FHIRPath
	ref      fhir.Ref
	fullURL  string
	resource *tree.Node
}

// Parse reads a submission. seed tells senders and submissions apart: the same seed
// and the same body give the same ids. base is the EHR's URL, for absolute
// references.
func Parse(body []byte, seed, base string) (*Submission, error) {
	root, err := tree.Parse(body)
	if err != nil {
		return nil, problem(codeStructure, "", "%v", err)
	}
	s := &Submission{}
	var all []entry
	var p *Problem
	if root.Get("resourceType").Text() == "Bundle" {
		all, p = entries(root)
	} else {
		s.Single = true
		all = []entry{{at: root.Get("resourceType").Text(), resource: root}}
	}
	if p != nil {
		return nil, p
	}
	for i := range all {
		e := &all[i]
		typ := e.resource.Get("resourceType").Text()
		if p := check(e, typ, s.Single); p != nil {
			return nil, p
		}
		e.ref = fhir.Ref{Type: typ, ID: newID(seed, body, i)}
		s.Refs = append(s.Refs, e.ref)
		s.Urgent = s.Urgent || urgent(e.resource.Get("priority").Text())
	}
	if p := s.subject(all, base); p != nil {
		return nil, p
	}
	s.Body, p = transaction(all, base)
	if p != nil {
		return nil, p
	}
	return s, nil
}

func urgent(priority string) bool {
	return priority == "stat" || priority == "asap" || priority == "urgent"
}

// newID is a version 8 UUID (RFC 9562 §5.8).
func newID(seed string, body []byte, i int) string {
	content := sha256.Sum256(body)
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s:%x:%d", len(seed), seed, content, i)
	x := hex.EncodeToString(h.Sum(nil))
	return strings.Join([]string{x[:8], x[8:12], "8" + x[13:16], "8" + x[17:20], x[20:32]}, "-")
}

// entries are the resources of a Bundle.
func entries(root *tree.Node) ([]entry, *Problem) {
	if root.Get("type").Text() != "transaction" {
		return nil, problem(codeNo, "Bundle.type", "want transaction: all of it is kept, or nothing")
	}
	list := root.Get("entry")
	if n := len(list.Items()); !list.List() || n < 1 || n > MaxEntries {
		return nil, problem(codeRequired, "Bundle.entry", "got %d, want 1 to %d", n, MaxEntries)
	}
	var all []entry
	names := map[string]bool{}
	for i, one := range list.Items() {
		at := fmt.Sprintf("Bundle.entry[%d]", i)
		e := entry{at: at + ".resource", resource: one.Get("resource"), fullURL: one.Get("fullUrl").Text()}
		if !e.resource.Object() {
			return nil, problem(codeRequired, e.at, "a resource is missing")
		}
		if e.fullURL != "" && names[e.fullURL] {
			return nil, problem(codeRule, at+".fullUrl", "is there twice")
		}
		names[e.fullURL] = true
		rq := one.Get("request")
		if rq.Get("method").Text() != "POST" || rq.Get("url").Text() != e.resource.Get("resourceType").Text() {
			return nil, problem(codeNo, at+".request", "want method POST and the resource's type as url: only what is new is taken this way")
		}
		for _, name := range []string{"ifNoneExist", "ifMatch", "ifNoneMatch", "ifModifiedSince"} {
			if rq.Get(name) != nil {
				return nil, problem(codeNo, at+".request."+name, "conditions are not taken: the same submission is never made twice anyway")
			}
		}
		all = append(all, e)
	}
	return all, nil
}

// transaction makes the Bundle to send: every resource under its id, references
// inside the submission by these ids.
func transaction(all []entry, base string) ([]byte, *Problem) {
	to := map[string]string{}
	for _, e := range all {
		if e.fullURL == "" {
			continue
		}
		to[e.fullURL] = e.ref.String()
		if local := e.ref.Type + "/" + e.resource.Get("id").Text(); strings.HasSuffix(e.fullURL, "/"+local) {
			to[local] = e.ref.String() // R4 §2.36.4: relative to where the entry comes from
		}
	}
	var out bytes.Buffer
	out.WriteString(`{"resourceType":"Bundle","type":"transaction","entry":[`)
	for i, e := range all {
		if i > 0 {
			out.WriteByte(',')
		}
		resource, p := named(e, to, base)
		if p != nil {
			return nil, p
		}
		fmt.Fprintf(&out, `{"fullUrl":"urn:uuid:%s","resource":`, e.ref.ID)
		out.Write(resource)
		fmt.Fprintf(&out, `,"request":{"method":"PUT","url":"%s","ifNoneMatch":"*"}}`, e.ref)
	}
	out.WriteString(`]}`)
	return out.Bytes(), nil
}

// named is a resource under its id, with its references turned.
func named(e entry, to map[string]string, base string) ([]byte, *Problem) {
	var edits []tree.Edit
	if id := e.resource.Get("id"); id != nil {
		edits = append(edits, tree.Edit{Start: id.Start, End: id.End, With: []byte(`"` + e.ref.ID + `"`)})
	} else {
		at := e.resource.Start + 1
		edits = append(edits, tree.Edit{Start: at, End: at, With: []byte(`"id":"` + e.ref.ID + `",`)})
	}
	var bad *Problem
	e.resource.Walk(func(name string, v *tree.Node) {
		if name != "reference" && name != "url" && !strings.HasPrefix(name, "value") {
			return
		}
		s := v.Text()
		if s == "" {
			return
		}
		if now, ok := to[s]; ok {
			edits = append(edits, tree.Edit{Start: v.Start, End: v.End, With: []byte(`"` + now + `"`)})
		} else if bad == nil && name != "value" && strings.HasPrefix(s, "urn:uuid:") {
			bad = problem(codeValue, e.at, "a reference names an entry that is not in the Bundle")
		}
	})
	return e.resource.Edited(edits), bad
}
