package cstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/dataset"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/pdu"
	"clinicgate/syncd/queue"
)

const ecg = "../../../image/lab/testdata/ecg/12lead.dcm"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func item(t *testing.T) ([]byte, queue.Item, deliver.Body) {
	t.Helper()
	file, err := os.ReadFile(ecg)
	must(t, err)
	return file, queue.Item{Key: "dicom:1", Kind: "dicom", Size: int64(len(file)), Meta: map[string]string{}},
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil }
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// run starts a peer and waits until its port answers.
func run(t *testing.T, port int, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s doesn't answer", program)
		}
	}
}

func kindOf(err error) deliver.Kind {
	var f *deliver.Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	return -1
}

// Orthanc takes an instance twice and has it once.
func TestOrthanc(t *testing.T) {
	lab.Require(t, lab.Program("Orthanc"))
	dir, port, web := t.TempDir(), freePort(t), freePort(t)
	conf, err := json.Marshal(map[string]any{
		"StorageDirectory": dir, "IndexDirectory": dir, "HttpPort": web, "DicomPort": port, "DicomAet": "HOSPITAL", "DicomCheckCalledAet": true,
		"DicomAlwaysAllowStore": true, "AuthenticationEnabled": false,
	})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "c.json"), conf, 0o600))
	run(t, port, "Orthanc", filepath.Join(dir, "c.json"))
	_, it, body := item(t)
	s := &Sender{Addr: fmt.Sprintf("127.0.0.1:%d", port), Called: "HOSPITAL", Calling: "CLINICGATE"}
	for _, tried := range []bool{false, true} {
		if proof, err := s.Send(t.Context(), it, tried, body); err != nil || proof == "" {
			t.Fatalf("%q %v", proof, err)
		}
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/instances", web))
	must(t, err)
	defer resp.Body.Close()
	var ids []string
	must(t, json.NewDecoder(resp.Body).Decode(&ids))
	if len(ids) != 1 {
		t.Errorf("%d instances, want 1", len(ids))
	}
	s.Called = "OTHER"
	if _, err := s.Send(t.Context(), it, false, body); kindOf(err) != deliver.Refusing {
		t.Errorf("another AE title: %v", err)
	}
}

// dcmtk's storescp takes it byte by byte as it is, in small PDUs.
func TestStorescp(t *testing.T) {
	lab.Require(t, lab.Program("storescp"))
	dir, port := t.TempDir(), freePort(t)
	run(t, port, "storescp", "-aet", "VIEWER", "-od", dir, "-pdu", "4096", "+B", fmt.Sprint(port))
	file, it, body := item(t)
	s := &Sender{Addr: fmt.Sprintf("127.0.0.1:%d", port), Called: "VIEWER", Calling: "CLINICGATE"}
	proof, err := s.Send(t.Context(), it, false, body)
	must(t, err)
	if proof != "stored, says the node" {
		t.Error(proof)
	}
	got, err := filepath.Glob(dir + "/*")
	if err != nil || len(got) != 1 {
		t.Fatalf("%v %v", got, err)
	}
	stored, err := os.Open(got[0])
	must(t, err)
	defer stored.Close()
	_, _, err = dataset.ReadMeta(stored)
	must(t, err)
	have, err := io.ReadAll(stored)
	must(t, err)
	sent := bytes.NewReader(file)
	_, _, err = dataset.ReadMeta(sent)
	must(t, err)
	want, err := io.ReadAll(sent)
	must(t, err)
	if !bytes.Equal(have, want) {
		t.Errorf("%d bytes arrived, %d were sent, and they differ", len(have), len(want))
	}
}

// A node says what a test wants.
func node(t *testing.T, say func(in *pdu.Reader, out net.Conn)) *Sender {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			say(pdu.NewReader(conn, 1<<20), conn)
			conn.Close()
		}
	}()
	return &Sender{Addr: l.Addr().String(), Called: "NODE", Calling: "CLINICGATE"}
}

// accepting is a node up to the answer to C-STORE, which it gives with a status.
func accepting(context byte, echo, store uint16) func(*pdu.Reader, net.Conn) {
	return func(in *pdu.Reader, out net.Conn) {
		if _, err := in.Read(); err != nil {
			return
		}
		out.Write(pdu.Append(nil, &pdu.AssociateAC{Version: 1, Called: "NODE", Calling: "CLINICGATE", Application: pdu.ApplicationContextUID,
			Results: []pdu.Result{{ID: 1, Transfer: implicit}, {ID: 3, Reason: context, Transfer: implicit}}, User: pdu.User{MaxLength: 16 << 10, ClassUID: "1.2"}}))
		for {
			p, err := in.Read()
			data, ok := p.(*pdu.Data)
			if err != nil || !ok {
				return
			}
			for _, v := range data.PDVs {
				rsp := command.Command{Field: command.EchoRSP, RespondedTo: 1, Class: verification, Status: echo}
				if !v.Command && v.Last {
					rsp = command.Command{Field: command.StoreRSP, RespondedTo: 2, Class: "1.2", Instance: "1.2", Status: store}
				} else if c, err := command.Parse(v.Value); !v.Command || err != nil || c.Field != command.EchoRQ {
					continue
				}
				out.Write(pdu.Append(nil, &pdu.Data{PDVs: []pdu.PDV{{Context: v.Context, Command: true, Last: true, Value: command.Append(nil, rsp)}}}))
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	_, it, body := item(t)
	reject := func(result byte) func(*pdu.Reader, net.Conn) {
		return func(in *pdu.Reader, out net.Conn) {
			in.Read()
			out.Write(pdu.Append(nil, &pdu.AssociateRJ{Result: result, Source: pdu.SourceUser, Reason: pdu.UserCallingUnknown}))
		}
	}
	for name, c := range map[string]struct {
		say  func(*pdu.Reader, net.Conn)
		kind deliver.Kind // -1: delivered
	}{
		"stored":              {accepting(0, 0, 0), -1},
		"stored with warning": {accepting(0, 0, 0xB007), -1},
		"rejected for good":   {reject(pdu.RejectedPermanent), deliver.Refusing},
		"rejected for now":    {reject(pdu.RejectedTransient), deliver.Unreachable},
		"does not take it":    {accepting(pdu.ContextNoTransfer, 0, 0), deliver.Refused},
		"not well":            {accepting(0, 0x0110, 0), deliver.Unreachable},
		"out of resources":    {accepting(0, 0, 0xA700), deliver.Unreachable},
		"does not understand": {accepting(0, 0, 0xC123), deliver.Refused},
		"other data":          {accepting(0, 0, 0xA900), deliver.Refused},
		"not authorised":      {accepting(0, 0, 0x0124), deliver.Refusing},
		"a failure":           {accepting(0, 0, 0x0110), deliver.Troubled},
		"hangs up":            {func(*pdu.Reader, net.Conn) {}, deliver.Unreachable},
		"talks HTTP":          {func(_ *pdu.Reader, out net.Conn) { io.WriteString(out, "HTTP/1.1 400 Bad Request\r\n\r\n") }, deliver.Unreachable},
		"aborts": {func(in *pdu.Reader, out net.Conn) {
			in.Read()
			out.Write(pdu.Append(nil, &pdu.Abort{Source: pdu.AbortProvider}))
		}, deliver.Refusing},
	} {
		_, err := node(t, c.say).Send(t.Context(), it, false, body)
		if (err == nil) != (c.kind == -1) || err != nil && kindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := &Sender{Addr: "127.0.0.1:1", Called: "NODE", Calling: "CLINICGATE"}
	if _, err := gone.Send(t.Context(), it, false, body); kindOf(err) != deliver.Unreachable {
		t.Errorf("nobody there: %v", err)
	}
	nothing := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte("x"))), nil }
	if _, err := gone.Send(t.Context(), it, false, nothing); kindOf(err) != deliver.Refused {
		t.Errorf("no DICOM: %v", err)
	}
}
