package dimse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/identifier"
	"clinicgate/syncd/dimse/pdu"
)

// kept is a ledger of what the test says: instance → class.
type kept map[string]string

func (k kept) Kept(instance string) string { return k[instance] }

func reference(class, instance string) identifier.Set {
	return identifier.Set{{Tag: tagRefClass, VR: "UI", Value: []byte(class)}, {Tag: tagRefInstance, VR: "UI", Value: []byte(instance)}}
}

// A device that has no address of its own hears on the association it asked on.
func TestCommitmentOnSameAssociation(t *testing.T) {
	n := start(t, func(o *Options) { o.Ledger = kept{"1.2.3": ecgClass, "1.2.4": "1.2.840.10008.5.1.4.1.1.2"} })
	s := dial(t, n.addr)
	s.send(&pdu.AssociateRQ{Version: 1, Called: "CLINICGATE", Calling: "ECGCART", Application: pdu.ApplicationContextUID,
		Contexts: []pdu.Context{{ID: 1, Abstract: Commitment, Transfer: []string{implicitLittle}}}})
	s.read()
	ask := func(action uint16, transaction string) command.Command {
		s.command(1, command.Command{Field: command.ActionRQ, MessageID: 7, Class: Commitment, Instance: commitmentInstance, HasData: true, Type: action})
		s.data(1, true, identifier.Append(nil, identifier.Set{
			{Tag: tagTransaction, VR: "UI", Value: []byte(transaction)},
			{Tag: tagReferenced, VR: "SQ", Items: []identifier.Set{reference(ecgClass, "1.2.3"), reference(ecgClass, "1.2.4"), reference(ecgClass, "1.2.5")}},
		}, false))
		return s.answer()
	}
	if got := ask(2, "1.9"); Status(got.Status) != statusNoAction {
		t.Errorf("action 2: %+v", got)
	}
	if got := ask(1, ""); Status(got.Status) != statusBadArgument {
		t.Errorf("no transaction: %+v", got)
	}
	if got := ask(1, "1.9"); got.Status != 0 || got.Field != command.ActionRQ.Response() {
		t.Fatalf("action: %+v", got)
	}
	event := s.answer()
	if event.Field != command.EventRQ || event.Type != eventSome || event.Instance != commitmentInstance || !event.HasData {
		t.Fatalf("event: %+v", event)
	}
	data := s.read().(*pdu.Data).PDVs[0]
	set, err := identifier.Parse(data.Value, false)
	good, _ := set.Get(tagReferenced)
	failed, _ := set.Get(tagFailed)
	if err != nil || set.Text(tagTransaction) != "1.9" || len(good.Items) != 1 || good.Items[0].Text(tagRefInstance) != "1.2.3" || len(failed.Items) != 2 {
		t.Fatalf("report: %+v, %v", set, err)
	}
	for i, want := range []byte{0x19, 0x12} { // another class; not there
		if r, _ := failed.Items[i].Get(tagFailReason); !bytes.Equal(r.Value, []byte{want, 0x01}) {
			t.Errorf("failure %d: % x", i, r.Value)
		}
	}
	s.command(1, command.Command{Field: command.EventRQ.Response(), RespondedTo: 1, Class: Commitment, Instance: commitmentInstance, Type: eventSome})
	if err := s.release(); err != nil {
		t.Error(err)
	}
}

// Orthanc stores an ECG here, asks for its commitment, and hears on an association of
// ours that it is kept; of one that never came it hears the truth.
func TestCommitmentToOrthanc(t *testing.T) {
	lab.Require(t, lab.Program("Orthanc"))
	web, dicom := port(t), port(t)
	n := start(t, func(o *Options) {
		o.Callers, o.Ledger = nil, kept{ecgUID: ecgClass}
		o.Peers = map[string]string{"ARCHIVE": fmt.Sprintf("127.0.0.1:%d", dicom)}
	})
	_, ours, _ := net.SplitHostPort(n.addr)
	dir := t.TempDir()
	conf := fmt.Sprintf(`{"Name":"ARCHIVE","StorageDirectory":%q,"IndexDirectory":%q,"HttpPort":%d,"DicomPort":%d,"DicomAet":"ARCHIVE",
"RemoteAccessAllowed":false,"AuthenticationEnabled":false,"DicomModalities":{"gateway":["CLINICGATE","127.0.0.1",%s]}}`, dir, dir, web, dicom, ours)
	file := filepath.Join(dir, "orthanc.json")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("Orthanc", file)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Orthanc:\n%s", log.String())
		}
	})
	base := fmt.Sprintf("http://127.0.0.1:%d", web)
	wait(t, "Orthanc", func() bool {
		resp, err := http.Get(base + "/system")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	for instance, want := range map[string]string{ecgUID: `"Status" : "Success"`, "1.2.3.4": `"Status" : "Failure"`} {
		body := fmt.Sprintf(`{"DicomInstances":[[%q,%q]]}`, ecgClass, instance)
		resp, err := http.Post(base+"/modalities/gateway/storage-commitment", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var job struct{ ID, Path string }
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if json.Unmarshal(text, &job) != nil || job.Path == "" {
			t.Fatalf("Orthanc says %d: %s", resp.StatusCode, text)
		}
		var said string
		wait(t, "the report", func() bool {
			resp, err := http.Get(base + job.Path)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			said = string(text)
			return !strings.Contains(said, `"Pending"`)
		})
		if !strings.Contains(said, want) {
			t.Errorf("%s: want %s, got %s", instance, want, said)
		}
	}
}

func port(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("no %s", what)
}
