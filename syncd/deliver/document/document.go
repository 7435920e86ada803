// Package document brings files to a FHIR R4 server, each as a Binary and the
// DocumentReference that describes it. Its one guarantee: a file is reported as
// delivered only when the server has one DocumentReference with the file's
// identifier, of the same patient, whose Binary gave back the same bytes.
package document

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/queue"
)

// System is the namespace of the identifiers under which files are stored.
const System = "urn:clinicgate:upload"

// Sender is a FHIR server, reached through a client for its base.
type Sender struct {
	Client *deliver.Client
	// Most is the largest file sent; a server has to take it as one resource.
	// Zero: 20 MiB. Larger ones are held.
	Most int64
}

const defaultMost = 20 << 20

// Identifier names an item at every server and from every box alike: the digest
// of key and content.
func Identifier(it queue.Item) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s:%s", len(it.Key), it.Key, it.Digest)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Send brings one file there.
//
//	search for the identifier      there: its Binary is read back; the same: delivered
//	transaction, If-None-Exist     no answer: the next attempt searches
//	search again, read back        there once and the same: delivered
//
// Conditional create alone is not enough: servers have made two of two that came
// together. So one attempt at a time is under way, and each begins by searching.
func (s *Sender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	if most := s.most(); it.Size > most {
		return "", deliver.Refuse("file of %d bytes, want at most %d for a FHIR resource", it.Size, most)
	}
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(2*it.Size))
	defer cancel()
	there, err := s.find(ctx, it)
	if err != nil {
		return "", err
	}
	if there != nil {
		return "found there, read back the same", s.compare(ctx, it, there)
	}
	if err := s.store(ctx, it, body); err != nil {
		return "", err
	}
	there, err = s.find(ctx, it)
	switch {
	case err != nil:
		return "", err
	case there == nil:
		return "", &deliver.Failure{Kind: deliver.Troubled, Reason: "stored, says the server, and doesn't find it"}
	}
	return "stored, read back the same", s.compare(ctx, it, there)
}

func (s *Sender) most() int64 {
	if s.Most == 0 {
		return defaultMost
	}
	return s.Most
}

// The parts of FHIR R4 that are read and written here.
type (
	reference struct {
		ResourceType string          `json:"resourceType"`
		ID           string          `json:"id,omitempty"`
		Identifier   []identifier    `json:"identifier"`
		Status       string          `json:"status"`
		Type         json.RawMessage `json:"type,omitempty"`
		Subject      *subject        `json:"subject,omitempty"`
		Date         string          `json:"date,omitempty"`
		Description  string          `json:"description,omitempty"`
		Content      []content       `json:"content"`
	}
	identifier struct {
		System string `json:"system,omitempty"`
		Value  string `json:"value"`
	}
	subject struct {
		Reference  string      `json:"reference,omitempty"`
		Identifier *identifier `json:"identifier,omitempty"`
	}
	content struct {
		Attachment attachment `json:"attachment"`
	}
	attachment struct {
		ContentType string `json:"contentType,omitempty"`
		URL         string `json:"url"`
		Size        int64  `json:"size,omitempty"`
		Hash        []byte `json:"hash,omitempty"` // SHA-1, says R4
		Title       string `json:"title,omitempty"`
	}
	bundle struct {
		ResourceType string `json:"resourceType"`
		Type         string `json:"type"`
		Entry        []struct {
			Resource json.RawMessage `json:"resource"`
			Search   struct {
				Mode string `json:"mode"`
			} `json:"search"`
			Response struct {
				Status string `json:"status"`
			} `json:"response"`
		} `json:"entry"`
	}
)

// maxAnswer bounds answers other than a Binary.
const maxAnswer = 1 << 20

// find returns the DocumentReference of the item, or nil if there is none.
func (s *Sender) find(ctx context.Context, it queue.Item) (*reference, error) {
	want := Identifier(it)
	q := url.Values{"identifier": {System + "|" + want}}
	var b bundle
	if err := s.get(ctx, "/DocumentReference?"+q.Encode(), maxAnswer, &b); err != nil {
		return nil, err
	}
	if b.ResourceType != "Bundle" {
		return nil, nonsense("answers a search with %.40q, want a Bundle", b.ResourceType)
	}
	var found []*reference
	for _, e := range b.Entry {
		if e.Search.Mode != "" && e.Search.Mode != "match" {
			continue
		}
		var r reference
		if err := json.Unmarshal(e.Resource, &r); err != nil || r.ResourceType != "DocumentReference" {
			return nil, nonsense("a search result is no DocumentReference")
		}
		if !r.named(want) { // a server that ignores the parameter returns all
			return nil, &deliver.Failure{Kind: deliver.Refusing, Reason: "answers a search for one identifier with others"}
		}
		found = append(found, &r)
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, deliver.Refuse("the file is there %d times", len(found))
}

func (r *reference) named(want string) bool {
	for _, id := range r.Identifier {
		if id.System == System && id.Value == want {
			return true
		}
	}
	return false
}

// compare holds a DocumentReference and its Binary against the item.
func (s *Sender) compare(ctx context.Context, it queue.Item, r *reference) error {
	if want := subjectOf(it); !sameSubject(r.Subject, want) {
		return deliver.Refuse("the file is there for another patient")
	}
	if len(r.Content) != 1 {
		return deliver.Refuse("the file's description there has %d contents, want 1", len(r.Content))
	}
	path, ok := binaryPath(r.Content[0].Attachment.URL)
	if !ok {
		return deliver.Refuse("the file's description there doesn't point to a Binary")
	}
	var binary struct {
		ResourceType string `json:"resourceType"`
		Data         []byte `json:"data"`
	}
	if err := s.get(ctx, path, it.Size/3*4+maxAnswer, &binary); err != nil {
		return err
	}
	if binary.ResourceType != "Binary" {
		return nonsense("answers with %.40q, want a Binary", binary.ResourceType)
	}
	if got := queue.Digest(sha256.Sum256(binary.Data)); got != it.Digest {
		return deliver.Refuse("the file is there with other content: got digest %.12s, want %.12s", got.String(), it.Digest.String())
	}
	return nil
}

func sameSubject(got, want *subject) bool {
	switch {
	case got == nil || want == nil:
		return got == want
	case want.Reference != "":
		return got.Reference == want.Reference || strings.HasSuffix(got.Reference, "/"+want.Reference)
	}
	return got.Identifier != nil && *got.Identifier == *want.Identifier
}

// binaryPath takes the path of a Binary from a relative or absolute URL. Wherever
// the URL points, only our server is asked.
func binaryPath(u string) (string, bool) {
	i := strings.LastIndex(u, "Binary/")
	if i < 0 {
		return "", false
	}
	id, _, _ := strings.Cut(u[i+len("Binary/"):], "/")
	ok := id != "" && len(id) <= 64 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.") == ""
	return "/Binary/" + id, ok
}

func subjectOf(it queue.Item) *subject {
	if ref := it.Meta[queue.MetaPatientRef]; ref != "" {
		return &subject{Reference: ref}
	}
	if id := it.Meta[queue.MetaPatientID]; id != "" {
		return &subject{Identifier: &identifier{Value: id}}
	}
	return nil
}

func (s *Sender) get(ctx context.Context, path string, limit int64, into any) error {
	resp, err := s.Client.Do(ctx, deliver.Request{Method: "GET", Path: path, Header: map[string]string{
		"Accept": "application/fhir+json", "Prefer": "handling=strict", "Cache-Control": "no-cache",
	}})
	if err != nil {
		return err
	}
	defer deliver.Discard(resp)
	if resp.StatusCode != http.StatusOK {
		err := deliver.Status(resp)
		var f *deliver.Failure
		if errors.As(err, &f) && f.Kind == deliver.Refused {
			f.Kind = deliver.Refusing // a server that can't be asked, whatever the item
		}
		return err
	}
	return decode(resp.Body, limit, into)
}

func decode(r io.Reader, limit int64, into any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return &deliver.Failure{Kind: deliver.Unreachable, Reason: "the answer broke off", Err: err}
	}
	if int64(len(b)) > limit {
		return nonsense("answers over %d bytes", limit)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return nonsense("answers something that is not FHIR JSON")
	}
	return nil
}

func nonsense(format string, args ...any) error {
	return &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf(format, args...)}
}

// store sends both resources in one transaction (FHIR R4 §3.1.0.11.2): both or
// none. The file is encoded as it is sent.
func (s *Sender) store(ctx context.Context, it queue.Item, body deliver.Body) error {
	hash, err := sha1Of(body)
	if err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	file, err := body()
	if err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	defer file.Close()
	first, last, err := frame(it, hash)
	if err != nil {
		return err
	}
	whole := io.MultiReader(strings.NewReader(first), &encoder{src: file}, strings.NewReader(last))
	resp, err := s.Client.Do(ctx, deliver.Request{
		Method: "POST", Path: "", Body: whole, Size: int64(len(first)+len(last)) + int64(base64.StdEncoding.EncodedLen(int(it.Size))),
		Header: map[string]string{"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Prefer": "return=minimal"},
	})
	if err != nil {
		return err
	}
	defer deliver.Discard(resp)
	if resp.StatusCode != http.StatusOK {
		return explained(resp)
	}
	var b bundle
	if err := decode(resp.Body, s.most()*2+maxAnswer, &b); err != nil {
		return err
	}
	if b.ResourceType != "Bundle" || len(b.Entry) != 2 {
		return nonsense("answers a transaction of 2 with a %.40q of %d", b.ResourceType, len(b.Entry))
	}
	for _, e := range b.Entry {
		if st := e.Response.Status; !strings.HasPrefix(st, "200") && !strings.HasPrefix(st, "201") {
			return deliver.Refuse("a part of the transaction was answered %.40q", st)
		}
	}
	return nil
}

// explained adds to a refusal what the server's OperationOutcome says in codes;
// its free text may speak of a patient.
func explained(resp *http.Response) error {
	err := deliver.Status(resp)
	var f *deliver.Failure
	var outcome struct {
		Issue []struct {
			Code       string   `json:"code"`
			Expression []string `json:"expression"`
		} `json:"issue"`
	}
	if errors.As(err, &f) && decode(resp.Body, maxAnswer, &outcome) == nil && len(outcome.Issue) > 0 {
		issue := outcome.Issue[0]
		f.Reason += fmt.Sprintf(": %.40q", issue.Code)
		if len(issue.Expression) > 0 {
			f.Reason += fmt.Sprintf(" at %.80q", issue.Expression[0])
		}
	}
	return err
}

func sha1Of(body deliver.Body) ([]byte, error) {
	file, err := body()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := sha1.New()
	_, err = io.Copy(h, deliver.Aside(file))
	return h.Sum(nil), err
}
