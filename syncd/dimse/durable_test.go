package dimse

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// asNode makes the test binary a node with a queue on disk, to be killed.
const asNode = "CLINICGATE_TEST_NODE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asNode); dir != "" {
		if err := serveDir(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func openQueue(dir string, o segment.Options) (*queue.Queue, error) {
	secrets := filepath.Join(dir, "secrets")
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		return nil, err
	}
	v, err := vault.Open(secrets)
	if err != nil {
		return nil, err
	}
	return queue.Open(filepath.Join(dir, "queue"), queue.Options{Domain: v.Domain("uploads"), Segment: o})
}

func serveDir(dir string) error {
	q, err := openQueue(dir, segment.Options{})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return New(Options{
		Title: "CLINICGATE", Door: ingest.New(q, &memqueue.Faults{}), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}).Serve(context.Background(), l)
}

// A process that dies by SIGKILL right after its C-STORE success has the instance,
// whole, when it comes back; and the same instance sent again is the same item.
func TestKilledAfterSuccess(t *testing.T) {
	lab.Require(t, lab.Program("storescu"))
	dir := t.TempDir()
	want := ecg(t)
	for range 3 {
		node, addr := startProcess(t, dir)
		host, port, _ := net.SplitHostPort(addr)
		out, err := exec.CommandContext(t.Context(), "storescu", "-v", "-R", "-xe", "-aet", "ECGCART", "-aec", "CLINICGATE", host, port,
			testdata+"anonymous_12lead_1000Hz.dcm").CombinedOutput()
		node.Process.Kill()
		node.Wait()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	q, err := openQueue(dir, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	items := q.List(queue.Waiting)
	if len(items) != 1 {
		t.Fatalf("%d items, want 1", len(items))
	}
	body, err := q.Body(items[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	kept, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	_, got := split(t, bytes.NewReader(kept))
	for _, w := range waveforms(want) {
		if !bytes.Contains(got, w) {
			t.Errorf("a waveform of %d bytes was changed", len(w))
		}
	}
}

// A full queue says A700, keeps what it has, and keeps nothing of what it refused.
func TestRealQueueFull(t *testing.T) {
	q, err := openQueue(t.TempDir(), segment.Options{SegmentSize: 1 << 20, MaxBytes: 3 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	n := start(t, func(o *Options) { o.Door = ingest.New(q, &memqueue.Faults{}) })
	s := dial(t, n.addr).open()
	data, kept, full := ecg(t), 0, 0
	for i := range 20 {
		rq, uid := storeRQ(uint16(i)), []byte(ecgUID)
		uid[len(uid)-1], uid[len(uid)-3] = byte('0'+i%10), byte('0'+i/10)
		rq.Instance = string(uid)
		s.command(3, rq)
		s.data(3, true, bytes.ReplaceAll(data, []byte(ecgUID), uid))
		switch c := s.answer(); Status(c.Status) {
		case Success:
			kept++
		case statusFull:
			full++
		default:
			t.Errorf("got %+v", c)
		}
	}
	if kept == 0 || full == 0 || len(q.List(queue.Waiting)) != kept {
		t.Errorf("%d kept, %d refused, %d in the queue", kept, full, len(q.List(queue.Waiting)))
	}
}

func startProcess(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), asNode+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		t.Fatalf("the node said nothing: %v", err)
	}
	return cmd, strings.TrimSpace(string(line[:n]))
}
