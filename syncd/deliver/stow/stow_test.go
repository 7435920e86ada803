package stow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

// orthanc is a real archive that nobody here wrote, on the loopback.
type orthanc struct {
	t    *testing.T
	base *url.URL // of its REST interface
	dir  string
	cmd  *exec.Cmd
}

func startOrthanc(t *testing.T) *orthanc {
	t.Helper()
	lab.Require(t, lab.Program("Orthanc"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	o := &orthanc{t: t, base: &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}, dir: t.TempDir()}
	config, err := json.Marshal(map[string]any{
		"StorageDirectory": o.dir, "IndexDirectory": o.dir, "HttpPort": port, "DicomServerEnabled": false,
		"RemoteAccessAllowed": false, "AuthenticationEnabled": true, "RegisteredUsers": map[string]string{"gate": "way"},
		"Plugins": []string{"/usr/share/orthanc/plugins/libOrthancDicomWeb.so"},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(o.dir, "orthanc.json"), config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.start()
	return o
}

func (o *orthanc) start() {
	o.t.Helper()
	o.cmd = exec.Command("Orthanc", filepath.Join(o.dir, "orthanc.json"))
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(o.stop)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(o.base.String() + "/system"); err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			o.t.Fatal("Orthanc doesn't answer after 20 s")
		}
	}
}

func (o *orthanc) stop() {
	if o.cmd.ProcessState == nil {
		o.cmd.Process.Kill()
		o.cmd.Wait()
	}
}

// get asks Orthanc's own interface: the ground truth.
func (o *orthanc) get(path string) []byte {
	o.t.Helper()
	req, _ := http.NewRequest("GET", o.base.String()+path, nil)
	req.SetBasicAuth("gate", "way")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		o.t.Fatalf("%s: %d, %v", path, resp.StatusCode, err)
	}
	return b
}

// files returns all instances it has.
func (o *orthanc) files() (all [][]byte) {
	o.t.Helper()
	var ids []string
	if err := json.Unmarshal(o.get("/instances"), &ids); err != nil {
		o.t.Fatal(err)
	}
	for _, id := range ids {
		all = append(all, o.get("/instances/"+id+"/file"))
	}
	return all
}

func (o *orthanc) sender() *Sender {
	base := *o.base
	base.Path = "/dicom-web"
	return &Sender{Client: deliver.NewClient(&base, "gate", "way")}
}

// ecg is a real 12-lead ECG and its item.
func ecg(t *testing.T) ([]byte, queue.Item) {
	t.Helper()
	file, err := os.ReadFile("../../../image/lab/testdata/ecg/12lead.dcm")
	if err != nil {
		t.Fatal(err)
	}
	return file, queue.Item{
		Key: "dicom:1.3.6.1.4.1.20029.40.20130125105919.5407.1.1", Lane: lane.Stat, Kind: "dicom", Origin: "ECGCART", Size: int64(len(file)),
		Meta: map[string]string{
			queue.MetaStudyUID: tag(t, file, 0x20, 0x0d), queue.MetaSeriesUID: tag(t, file, 0x20, 0x0e),
			queue.MetaInstanceUID: tag(t, file, 0x08, 0x18), queue.MetaPatientID: tag(t, file, 0x10, 0x20),
		},
	}
}

// tag finds a short explicit-VR element of an even group without parsing the rest.
func tag(t *testing.T, file []byte, group, element byte) string {
	t.Helper()
	i := bytes.Index(file[132:], []byte{group, 0, element, 0})
	if i < 0 {
		t.Fatalf("no element %02x,%02x", group, element)
	}
	head := file[132+i:]
	return strings.Trim(string(head[8:8+int(head[6])]), " \x00")
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

func TestOrthanc(t *testing.T) {
	o := startOrthanc(t)
	s := o.sender()
	file, it := ecg(t)
	ctx := context.Background()
	if proof, err := s.Send(ctx, it, false, bytesBody(file)); err != nil || proof != "stored, read back the same" {
		t.Fatalf("first: %q, %v", proof, err)
	}
	if proof, err := s.Send(ctx, it, true, bytesBody(file)); err != nil || proof != "found there, read back the same" {
		t.Fatalf("again: %q, %v", proof, err)
	}
	other := bytes.Clone(file)
	other[len(other)-100] ^= 1
	if _, err := s.Send(ctx, it, false, bytesBody(other)); kindOf(err) != deliver.Refused || !strings.Contains(err.Error(), "other content") {
		t.Fatalf("same UID, other content: %v", err)
	}
	for what, meta := range map[string]string{"another patient": queue.MetaPatientID, "another study": queue.MetaStudyUID} {
		wrong := it
		wrong.Meta = map[string]string{}
		for k, v := range it.Meta {
			wrong.Meta[k] = v
		}
		wrong.Meta[meta] = "1.2.3"
		if _, err := s.Send(ctx, wrong, false, bytesBody(file)); kindOf(err) != deliver.Refused || !strings.Contains(err.Error(), "same SOP instance UID") {
			t.Fatalf("same UID, %s: %v", what, err)
		}
	}
	if all := o.files(); len(all) != 1 || !sameData(t, all[0], file) {
		t.Fatalf("%d instances, want the one that was sent", len(all))
	}
	wrongPassword := &Sender{Client: deliver.NewClient(mustURL(t, o.base.String()+"/dicom-web"), "gate", "wrong")}
	if _, err := wrongPassword.Send(ctx, it, false, bytesBody(file)); kindOf(err) != deliver.Refusing {
		t.Fatalf("wrong password: %v", err)
	}
	truncated := file[:len(file)/2]
	cut := it
	cut.Size = int64(len(truncated))
	cut.Meta = map[string]string{queue.MetaStudyUID: "1.2", queue.MetaSeriesUID: "1.2", queue.MetaInstanceUID: "1.2.3"}
	if _, err := s.Send(ctx, cut, false, bytesBody(truncated)); err == nil {
		t.Fatal("half an instance under another UID counts as delivered")
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func sameData(t *testing.T, a, b []byte) bool {
	t.Helper()
	x, err := sum(bytes.NewReader(a), int64(len(a)))
	if err != nil {
		t.Fatal(err)
	}
	y, err := sum(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return x == y
}

// The archive commits and its answer is lost: the attempt fails, the next one
// finds the instance there, and it is there once.
func TestOrthancAnswerLost(t *testing.T) {
	o := startOrthanc(t)
	file, it := ecg(t)
	var drop atomic.Bool
	drop.Store(true)
	proxy := httputil.NewSingleHostReverseProxy(o.base)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" && drop.Swap(false) {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	s := &Sender{Client: deliver.NewClient(mustURL(t, front.URL+"/dicom-web"), "gate", "way")}
	if _, err := s.Send(context.Background(), it, false, bytesBody(file)); kindOf(err) != deliver.Unreachable {
		t.Fatalf("answer lost: %v", err)
	}
	if proof, err := s.Send(context.Background(), it, true, bytesBody(file)); err != nil || !strings.HasPrefix(proof, "found there") {
		t.Fatalf("next attempt: %q, %v", proof, err)
	}
	if n := len(o.files()); n != 1 {
		t.Fatalf("%d instances, want 1", n)
	}
	o.stop()
	if _, err := s.Send(context.Background(), it, true, bytesBody(file)); kindOf(err) != deliver.Unreachable {
		t.Fatalf("archive down: %v", err)
	}
}

// What archives answer, one line each: status and body of the STOW-RS answer, and
// what it means. The instance is never there before.
func TestVerdicts(t *testing.T) {
	_, it := ecg(t)
	uid := it.Meta[queue.MetaInstanceUID]
	ref := func(seq, uid string, code int) string {
		return fmt.Sprintf(`{"%s":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["%s"]},"00081197":{"vr":"US","Value":[%d]}}]}}`, seq, uid, code)
	}
	for _, c := range []struct {
		status int
		body   string
		want   deliver.Kind
	}{
		{409, ref("00081198", uid, 0xA700), deliver.Unreachable},
		{409, ref("00081198", uid, 0x0110), deliver.Troubled},
		{409, ref("00081198", uid, 0x0122), deliver.Refused},
		{409, ref("00081198", uid, 0xA900), deliver.Refused},
		{202, ref("00081198", uid, 0xC000), deliver.Refused},
		{409, ref("00081198", "1.2.3", 0xA900), deliver.Troubled},
		{200, ref("00081199", "1.2.3", 0), deliver.Troubled},
		{200, ref("00081199", uid, 0), deliver.Troubled}, // and then it is not listed
		{200, `{}`, deliver.Troubled},
		{200, `<html>`, deliver.Troubled},
		{200, strings.Repeat(" ", maxJSON+10), deliver.Troubled},
		{400, ``, deliver.Refused},
		{415, ``, deliver.Refused},
		{401, ``, deliver.Refusing},
		{404, ``, deliver.Refusing},
		{302, ``, deliver.Refusing},
		{500, ``, deliver.Troubled},
		{503, ``, deliver.Unreachable},
		{507, ``, deliver.Unreachable},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				io.WriteString(w, "[]")
				return
			}
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}))
		s := &Sender{Client: deliver.NewClient(mustURL(t, srv.URL), "", "")}
		file, _ := ecg(t)
		if _, err := s.Send(context.Background(), it, false, bytesBody(file)); kindOf(err) != c.want {
			t.Errorf("%d %.60s: %v, want kind %d", c.status, c.body, err, c.want)
		}
		srv.Close()
	}
}

// Questions an archive can't or won't answer: nothing is sent.
func TestNothingSentUnasked(t *testing.T) {
	file, it := ecg(t)
	for name, answer := range map[string]func(http.ResponseWriter){
		"no QIDO":       func(w http.ResponseWriter) { w.WriteHeader(404) },
		"bad question":  func(w http.ResponseWriter) { w.WriteHeader(400) },
		"not DICOM":     func(w http.ResponseWriter) { io.WriteString(w, "<html>Sign in") },
		"another's":     func(w http.ResponseWriter) { io.WriteString(w, `[{"00080018":{"vr":"UI","Value":["1.2.3"]}}]`) },
		"out of order":  func(w http.ResponseWriter) { w.WriteHeader(503) },
		"endless":       func(w http.ResponseWriter) { io.WriteString(w, "["+strings.Repeat("{},", maxJSON)) },
		"number as UID": func(w http.ResponseWriter) { io.WriteString(w, `[{"00080018":{"Value":[7]}}]`) },
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" {
				t.Errorf("%s: something was sent", name)
			}
			answer(w)
		}))
		s := &Sender{Client: deliver.NewClient(mustURL(t, srv.URL), "", "")}
		if _, err := s.Send(context.Background(), it, false, bytesBody(file)); err == nil || kindOf(err) == deliver.Refused {
			t.Errorf("%s: %v; want a failure that is not the item's", name, err)
		}
		srv.Close()
	}
	it.Meta[queue.MetaStudyUID] = "../../system"
	s := &Sender{Client: deliver.NewClient(mustURL(t, "http://127.0.0.1:1"), "", "")}
	if _, err := s.Send(context.Background(), it, false, bytesBody(file)); kindOf(err) != deliver.Refused {
		t.Errorf("a path for a UID: %v", err)
	}
}
