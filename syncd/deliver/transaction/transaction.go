// Package transaction brings FHIR submissions to a FHIR R4 server, each in one
// transaction. Its one guarantee: a submission is reported as delivered only when
// the server gave back every resource of it, under the id it left with; and nothing
// is sent over resources that are there already, so what the other side has since
// made of them stays.
package transaction

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/tree"
	"clinicgate/syncd/queue"
)

// Sender is a FHIR server, reached through a client for its base.
type Sender struct{ Client *deliver.Client }

// Bounds.
const (
	maxItem   = 64 << 20 // of a submission; the door takes less
	maxAnswer = 1 << 20  // of a transaction's answer
)

// Send brings one submission there.
//
//	read each resource by its id    all there: delivered; some: refused for good
//	transaction of PUTs             no answer: the next attempt reads
//	read each again                 all there and as sent: delivered
//
// The ids are digests of sender and content, so what is there under them is this
// submission, from an earlier attempt or from the pair's other box. All or nothing
// is the transaction's (R4 §3.1.0.11.2); that nothing is overwritten is ours, for
// servers that pass over ifNoneMatch.
func (s *Sender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(3*it.Size))
	defer cancel()
	text, all, err := read(it, body)
	if ref := it.Meta[queue.MetaPatientRef]; err == nil && ref != "" {
		text, all, err = referred(text, ref)
	}
	if err != nil {
		return "", err
	}
	n, _, err := s.there(ctx, all)
	switch {
	case err != nil:
		return "", err
	case n == len(all):
		return "found there", nil
	case n > 0:
		return "", deliver.Refuse("%d of %d resources are there: the server does not keep transactions whole", n, len(all))
	}
	if err := s.store(ctx, text, len(all)); err != nil {
		return "", err
	}
	n, other, err := s.there(ctx, all)
	switch {
	case err != nil:
		return "", err
	case n < len(all):
		return "", &deliver.Failure{Kind: deliver.Troubled, Reason: "stored, says the server, and doesn't have it"}
	case other != "":
		return "", deliver.Refuse("the server has made something else of it: %s", other)
	}
	return "stored, read back the same", nil
}

// sent is a resource as it leaves.
type sent struct {
	ref   fhir.Ref
	value any
}

func read(it queue.Item, body deliver.Body) ([]byte, []sent, error) {
	file, err := body()
	if err != nil {
		return nil, nil, fmt.Errorf("read item: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxItem+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read item: %w", err)
	}
	if len(text) > maxItem {
		return nil, nil, deliver.Refuse("submission of over %d bytes", maxItem)
	}
	all, err := resources(text)
	return text, all, err
}

// resources are those of a transaction.
func resources(text []byte) ([]sent, error) {
	root, err := tree.Parse(text)
	if err != nil {
		return nil, deliver.Refuse("submission can't be read: %v", err)
	}
	var all []sent
	for _, e := range root.Get("entry").Items() {
		r := e.Get("resource")
		ref, err := fhir.ParseRef(r.Get("resourceType").Text(), r.Get("id").Text())
		var v any
		if err == nil {
			err = json.Unmarshal(r.Raw(), &v)
		}
		if err != nil {
			return nil, deliver.Refuse("submission can't be read: %v", err)
		}
		all = append(all, sent{ref, v})
	}
	if len(all) == 0 {
		return nil, deliver.Refuse("submission without resources")
	}
	return all, nil
}

// referred adds the patient's reference where resources name the patient by number
// only, so that they are in the patient's record there.
func referred(text []byte, ref string) ([]byte, []sent, error) {
	root, err := tree.Parse(text)
	if err != nil {
		return nil, nil, deliver.Refuse("submission can't be read: %v", err)
	}
	var edits []tree.Edit
	for _, e := range root.Get("entry").Items() {
		for _, name := range []string{"subject", "patient", "for"} {
			if who := e.Get("resource", name); who.Get("identifier") != nil && who.Get("reference") == nil {
				at := who.Start + 1
				edits = append(edits, tree.Edit{Start: at, End: at, With: []byte(`"reference":"` + ref + `",`)})
			}
		}
	}
	if len(edits) > 0 {
		text = root.Edited(edits)
	}
	all, err := resources(text)
	return text, all, err
}

// there counts the resources that are there, and names the first place at which
// one is not as it was sent.
func (s *Sender) there(ctx context.Context, all []sent) (n int, other string, err error) {
	for _, r := range all {
		got, err := s.get(ctx, r.ref, it64(r))
		if err != nil {
			return 0, "", err
		}
		if got == nil {
			continue
		}
		n++
		if at := differs(r.value, got, r.ref.Type); at != "" && other == "" {
			other = at
		}
	}
	return n, other, nil
}

// it64 bounds an answer by what was sent: a server adds, it does not multiply.
func it64(r sent) int64 {
	text, _ := json.Marshal(r.value) // it came from JSON
	return 2*int64(len(text)) + maxAnswer
}

// get reads a resource; nil, and no error, when there is none.
func (s *Sender) get(ctx context.Context, ref fhir.Ref, most int64) (any, error) {
	resp, err := s.Client.Do(ctx, deliver.Request{Method: "GET", Path: "/" + ref.String(), Header: map[string]string{"Accept": "application/fhir+json"}})
	if err != nil {
		return nil, err
	}
	defer deliver.Discard(resp)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, outcome(resp)
	case http.StatusGone:
		return nil, deliver.Refuse("it was there and was deleted")
	default:
		return nil, unwilling(deliver.Status(resp))
	}
	var v map[string]any
	if err := json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(&v); err != nil {
		return nil, &deliver.Failure{Kind: deliver.Troubled, Reason: "answers something that is not FHIR JSON", Err: err}
	}
	if v["resourceType"] != ref.Type || v["id"] != ref.ID {
		return nil, &deliver.Failure{Kind: deliver.Refusing, Reason: "answers a read of one resource with another"}
	}
	return v, nil
}

// outcome tells a FHIR server that has no such resource from an address where
// there is no FHIR server.
func outcome(resp *http.Response) error {
	var o struct{ ResourceType string }
	if json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&o) != nil || o.ResourceType != "OperationOutcome" {
		return &deliver.Failure{Kind: deliver.Refusing, Reason: "answers 404 without an OperationOutcome: no FHIR server is there"}
	}
	return nil
}

// unwilling says of a question what Status says of an answer.
func unwilling(err error) error {
	var f *deliver.Failure
	if errors.As(err, &f) && f.Kind == deliver.Refused {
		f.Kind = deliver.Refusing
	}
	return err
}

// store sends the transaction.
func (s *Sender) store(ctx context.Context, text []byte, want int) error {
	resp, err := s.Client.Do(ctx, deliver.Request{
		Method: "POST", Body: bytes.NewReader(text), Size: int64(len(text)),
		Header: map[string]string{"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Prefer": "return=minimal"},
	})
	if err != nil {
		return err
	}
	defer deliver.Discard(resp)
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	var b struct {
		ResourceType string
		Entry        []struct{ Response struct{ Status string } }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 2*int64(len(text))+maxAnswer)).Decode(&b); err != nil || b.ResourceType != "Bundle" || len(b.Entry) != want {
		return &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf("answers a transaction of %d with something else", want), Err: err}
	}
	for i, e := range b.Entry {
		if !strings.HasPrefix(e.Response.Status, "20") {
			return deliver.Refuse("entry %d of the transaction was answered %.40q", i, e.Response.Status)
		}
	}
	return nil
}

// refusal adds what an OperationOutcome says in codes; its words may name someone.
func refusal(resp *http.Response) error {
	err := deliver.Status(resp)
	var f *deliver.Failure
	var o struct {
		Issue []struct {
			Code       string
			Expression []string
		}
	}
	if errors.As(err, &f) && json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&o) == nil && len(o.Issue) > 0 {
		f.Reason += fmt.Sprintf(": %.40q", o.Issue[0].Code)
		if len(o.Issue[0].Expression) > 0 {
			f.Reason += fmt.Sprintf(" at %.80q", o.Issue[0].Expression[0])
		}
	}
	if errors.As(err, &f) && resp.StatusCode == http.StatusPreconditionFailed {
		f.Kind = deliver.Troubled // ifNoneMatch: it came in between; the next attempt finds it
	}
	return err
}
