package document

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/image/lab/ehr"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

const modules = "../../../build/lab/ehr"

// startEHR starts a real FHIR server that nobody here wrote and returns it and a
// sender to it.
func startEHR(t *testing.T) (*ehr.Server, *Sender) {
	t.Helper()
	lab.Require(t, lab.Root, ehr.Installed(modules))
	space, err := netns.New(fmt.Sprintf("store-doc%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := ehr.Start(ctx, ehr.Config{Space: space, Dir: modules, Listen: "127.0.0.1:8103", Log: filepath.Join(t.TempDir(), "ehr.log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Proc.Kill)
	door := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:8103"})
	door.Transport = &http.Transport{DialContext: space.DialContext}
	door.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	front := httptest.NewServer(door)
	t.Cleanup(front.Close)
	return server, sender(t, front.URL+"/fhir/R4")
}

func sender(t *testing.T, base string) *Sender {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return &Sender{Client: deliver.NewClient(u, "", "")}
}

func scp(t *testing.T) ([]byte, queue.Item) {
	t.Helper()
	file, err := os.ReadFile("../../../image/lab/testdata/ecg/ecgtoolkit.scp")
	if err != nil {
		t.Fatal(err)
	}
	return file, item("mqtt:cart:7", file)
}

func item(key string, file []byte) queue.Item {
	return queue.Item{
		Key: key, Lane: lane.Stat, Kind: "scp-ecg", Origin: "cart", Size: int64(len(file)), Digest: sha256.Sum256(file),
		Accepted: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC),
		Meta:     map[string]string{queue.MetaContentType: "application/octet-stream", queue.MetaPatientID: "SBJ-123"},
	}
}

func bytesBody(b []byte) deliver.Body {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func kindOf(err error) deliver.Kind {
	var f *deliver.Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	return -1
}

// held counts the resources of a type in a dump of the EHR.
func held(t *testing.T, s *ehr.Server, kind string) (all []map[string]any) {
	t.Helper()
	resources, err := s.Dump()
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range resources {
		var r map[string]any
		if err := json.Unmarshal(raw.Raw, &r); err != nil {
			t.Fatal(err)
		}
		if r["resourceType"] == kind {
			all = append(all, r)
		}
	}
	return all
}

func TestRealEHR(t *testing.T) {
	server, s := startEHR(t)
	file, it := scp(t)
	ctx := context.Background()
	if proof, err := s.Send(ctx, it, false, bytesBody(file)); err != nil || proof != "stored, read back the same" {
		t.Fatalf("first: %q, %v", proof, err)
	}
	if proof, err := s.Send(ctx, it, true, bytesBody(file)); err != nil || proof != "found there, read back the same" {
		t.Fatalf("again: %q, %v", proof, err)
	}
	other := it
	other.Meta = map[string]string{queue.MetaPatientID: "SBJ-456"}
	if _, err := s.Send(ctx, other, true, bytesBody(file)); kindOf(err) != deliver.Refused || !strings.Contains(err.Error(), "another patient") {
		t.Fatalf("other patient: %v", err)
	}
	docs, binaries := held(t, server, "DocumentReference"), held(t, server, "Binary")
	if len(docs) != 1 || len(binaries) != 1 {
		t.Fatalf("%d documents, %d binaries, want one each", len(docs), len(binaries))
	}
	if data, err := base64.StdEncoding.DecodeString(binaries[0]["data"].(string)); err != nil || !bytes.Equal(data, file) {
		t.Fatalf("the file there differs, %v", err)
	}
	large := make([]byte, 1<<20)
	rand.Read(large)
	if _, err := s.Send(ctx, item("large", large), false, bytesBody(large)); err != nil {
		t.Fatalf("1 MiB: %v", err)
	}
	large = append(large, large...) // more than this server takes
	if _, err := s.Send(ctx, item("larger", large), false, bytesBody(large)); kindOf(err) != deliver.Refused || !strings.Contains(err.Error(), `"structure" at "Binary.data"`) {
		t.Fatalf("2 MiB: %v", err)
	}
	if n, m := len(held(t, server, "DocumentReference")), len(held(t, server, "Binary")); n != 2 || m != 2 {
		t.Fatalf("%d documents and %d binaries, want 2 each", n, m)
	}
	message, err := os.ReadFile("../../hl7/testdata/ORU-R01-01.hl7")
	if err != nil {
		t.Fatal(err)
	}
	result := item("hl7:1", message)
	result.Kind, result.Meta[queue.MetaContentType] = "hl7v2", "x-application/hl7-v2+er7"
	if _, err := s.Send(ctx, result, false, bytesBody(message)); err != nil {
		t.Fatalf("HL7 v2: %v", err)
	}
}

// The EHR commits and doesn't answer; the next attempt finds the document, and it
// is there once.
func TestRealEHRAnswerLost(t *testing.T) {
	server, s := startEHR(t)
	file, it := scp(t)
	ctx := context.Background()
	for name, fault := range map[string]ehr.Faults{
		"down": {Down: true}, "nonsense": {Nonsense: true}, "failing": {FailNext: 1, FailStatus: 503},
	} {
		if err := server.Play(fault); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Send(ctx, it, false, bytesBody(file)); err == nil || kindOf(err) == deliver.Refused {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := server.Play(ehr.Faults{}); err != nil {
		t.Fatal(err)
	}
	if there, err := s.find(ctx, it); there != nil || err != nil {
		t.Fatalf("before: %v, %v", there, err)
	}
	if err := server.Play(ehr.Faults{DropAfterCommit: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.store(ctx, it, bytesBody(file)); kindOf(err) != deliver.Unreachable {
		t.Fatalf("answer lost: %v", err)
	}
	if proof, err := s.Send(ctx, it, true, bytesBody(file)); err != nil || !strings.HasPrefix(proof, "found there") {
		t.Fatalf("next attempt: %q, %v", proof, err)
	}
	if n, m := len(held(t, server, "DocumentReference")), len(held(t, server, "Binary")); n != 1 || m != 1 {
		t.Fatalf("%d documents and %d binaries, want one each", n, m)
	}
}

// What servers answer to the search that comes first, and what it means. Nothing
// is ever posted after such an answer.
func TestSearchAnswers(t *testing.T) {
	file, it := scp(t)
	doc := func(change func(*reference)) string {
		r := reference{
			ResourceType: "DocumentReference", Identifier: []identifier{{System, Identifier(it)}}, Subject: subjectOf(it),
			Content: []content{{attachment{URL: "Binary/7"}}},
		}
		if change != nil {
			change(&r)
		}
		b, _ := json.Marshal(r)
		return `{"resource":` + string(b) + `}`
	}
	bundleOf := func(entries ...string) string {
		return `{"resourceType":"Bundle","type":"searchset","entry":[` + strings.Join(entries, ",") + `]}`
	}
	for _, c := range []struct {
		name, body string
		status     int
		want       deliver.Kind
	}{
		{"another identifier", bundleOf(doc(func(r *reference) { r.Identifier[0].Value = "x" })), 200, deliver.Refusing},
		{"twice", bundleOf(doc(nil), doc(nil)), 200, deliver.Refused},
		{"another patient", bundleOf(doc(func(r *reference) { r.Subject.Identifier.Value = "x" })), 200, deliver.Refused},
		{"no patient", bundleOf(doc(func(r *reference) { r.Subject = nil })), 200, deliver.Refused},
		{"no content", bundleOf(doc(func(r *reference) { r.Content = nil })), 200, deliver.Refused},
		{"elsewhere", bundleOf(doc(func(r *reference) { r.Content[0].Attachment.URL = "http://x/file" })), 200, deliver.Refused},
		{"a path", bundleOf(doc(func(r *reference) { r.Content[0].Attachment.URL = "Binary/..%2f.." })), 200, deliver.Refused},
		{"other content", bundleOf(doc(nil)), 200, deliver.Refused}, // Binary/7 has other bytes
		{"a Patient", `{"resourceType":"Patient"}`, 200, deliver.Troubled},
		{"no document", bundleOf(`{"resource":{"resourceType":"Patient"}}`), 200, deliver.Troubled},
		{"HTML", "<html>", 200, deliver.Troubled},
		{"endless", strings.Repeat(" ", maxAnswer+1), 200, deliver.Troubled},
		{"unauthorised", "", 401, deliver.Refusing},
		{"bad request", "", 400, deliver.Refusing},
		{"broken", "", 500, deliver.Troubled},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method != "GET":
				t.Errorf("%s: %s %s", c.name, r.Method, r.URL.Path)
			case r.URL.Path == "/Binary/7":
				io.WriteString(w, `{"resourceType":"Binary","data":"aGVsbG8="}`)
			default:
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			}
		}))
		if _, err := sender(t, srv.URL).Send(context.Background(), it, false, bytesBody(file)); kindOf(err) != c.want {
			t.Errorf("%s: %v, want kind %d", c.name, err, c.want)
		}
		srv.Close()
	}
	huge := it
	huge.Size = 1 << 40
	if _, err := sender(t, "http://127.0.0.1:1").Send(context.Background(), huge, false, nil); kindOf(err) != deliver.Refused {
		t.Errorf("1 TiB: %v", err)
	}
}

// The transaction is FHIR, its base64 is the file's, whatever the pieces it is
// read in.
func TestTransaction(t *testing.T) {
	for _, n := range []int{1, 2, 3, 3 << 10, 3<<10 + 1, 100_000} {
		file := make([]byte, n)
		rand.Read(file)
		it := item(`a "key"`, file)
		first, last, err := frame(it, []byte("hash"))
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		text.WriteString(first)
		if _, err := io.Copy(&text, &encoder{src: iotest.OneByteReader(bytes.NewReader(file))}); err != nil {
			t.Fatal(err)
		}
		text.WriteString(last)
		var b struct {
			Entry []struct {
				FullURL  string
				Resource struct {
					ResourceType string
					Data         []byte
					Content      []content
				}
				Request struct{ Method, URL, IfNoneExist string }
			}
		}
		if err := json.Unmarshal(text.Bytes(), &b); err != nil || len(b.Entry) != 2 {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if !bytes.Equal(b.Entry[0].Resource.Data, file) || b.Entry[1].Resource.Content[0].Attachment.URL != b.Entry[0].FullURL ||
			b.Entry[0].FullURL == b.Entry[1].FullURL || b.Entry[1].Request.IfNoneExist != "identifier="+System+"|"+Identifier(it) {
			t.Fatalf("%d bytes: %+v", n, b)
		}
	}
	if _, err := io.Copy(io.Discard, &encoder{src: iotest.ErrReader(io.ErrNoProgress)}); err != io.ErrNoProgress {
		t.Fatalf("a body that can't be read: %v", err)
	}
}
