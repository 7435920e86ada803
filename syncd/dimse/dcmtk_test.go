package dimse

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/dataset"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
)

const testdata = "../dataset/testdata/"

// A node is a server on loopback with a queue in memory behind it.
type node struct {
	addr   string
	queue  *memqueue.Queue
	faults *memqueue.Faults
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func start(t *testing.T, change func(*Options)) *node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{l.Addr().String(), &memqueue.Queue{}, &memqueue.Faults{}, &syncBuffer{}}
	o := Options{
		Title: "CLINICGATE", Callers: []string{"ECGCART"}, Door: ingest.New(n.queue, n.faults),
		Log: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(o).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if t.Failed() {
			t.Log(n.log.String())
		}
	})
	return n
}

// run starts one of dcmtk's tools against the node and returns what it said.
func (n *node) run(t *testing.T, tool string, args ...string) (string, error) {
	t.Helper()
	host, port, _ := net.SplitHostPort(n.addr)
	all := append([]string{"-v"}, args...)
	at := len(all) - countFiles(args)
	all = append(all[:at:at], append([]string{host, port}, all[at:]...)...)
	out, err := exec.CommandContext(t.Context(), tool, all...).CombinedOutput()
	return string(out), err
}

func countFiles(args []string) (n int) {
	for _, a := range args {
		if strings.HasSuffix(a, ".dcm") {
			n++
		}
	}
	return n
}

var titles = []string{"-aet", "ECGCART", "-aec", "CLINICGATE"}

func with(titles []string, more ...string) []string {
	return append(titles[:len(titles):len(titles)], more...)
}

// stored splits an accepted body into header and data set.
func stored(t *testing.T, s memqueue.Stored) (dataset.Meta, []byte) {
	t.Helper()
	return split(t, bytes.NewReader(s.Body))
}

func split(t *testing.T, src io.Reader) (dataset.Meta, []byte) {
	t.Helper()
	m, _, err := dataset.ReadMeta(src)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(src)
	if err != nil {
		t.Fatal(err)
	}
	return m, rest
}

func splitFile(t *testing.T, path string) (dataset.Meta, []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return split(t, bytes.NewReader(b))
}

func TestEchoSCU(t *testing.T) {
	lab.Require(t, lab.Program("echoscu"))
	n := start(t, nil)
	if out, err := n.run(t, "echoscu", with(titles, "--repeat", "3")...); err != nil || strings.Count(out, "Success") < 3 {
		t.Errorf("%v\n%s", err, out)
	}
	for name, wrong := range map[string][]string{
		"Called AE Title Not Recognized":  {"-aet", "ECGCART", "-aec", "ARCHIVE"},
		"Calling AE Title Not Recognized": {"-aet", "STRANGER", "-aec", "CLINICGATE"},
	} {
		if out, err := n.run(t, "echoscu", wrong...); err == nil || !strings.Contains(out, name) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Real files by a real modality's software, in every kind of transfer syntax: what
// is kept is what dcmtk's own receiver keeps of the same sender, byte for byte, and
// the waveform is the file's.
func TestStoreSCU(t *testing.T) {
	lab.Require(t, lab.Program("storescu", "storescp"))
	for _, c := range []struct{ file, option, syntax string }{ // +t options convert the file first
		{"anonymous_12lead_1000Hz.dcm", "-xe", "1.2.840.10008.1.2.1"},
		{"anonymous_12lead_1000Hz.dcm", "-xi", "1.2.840.10008.1.2"},
		{"anonymous_12lead_1000Hz.dcm", "+tb", "1.2.840.10008.1.2.2"},
		{"anonymous_12lead_1000Hz.dcm", "-xd", "1.2.840.10008.1.2.1.99"},
		{"hemodynamic_12ch_240Hz.dcm", "-xe", "1.2.840.10008.1.2.1"},
		{"hemodynamic_12ch_240Hz.dcm", "-xi", "1.2.840.10008.1.2"},
		{"us_multiframe_jpeg_30f.dcm", "-xy", "1.2.840.10008.1.2.4.50"},
		{"us_explicit_big_endian.dcm", "-xb", "1.2.840.10008.1.2.2"},
		{"ct_small.dcm", "-xe", "1.2.840.10008.1.2.1"},
		{"structured_report.dcm", "-xe", "1.2.840.10008.1.2.1"},
		{"deflated.dcm", "-xd", "1.2.840.10008.1.2.1.99"},
	} {
		t.Run(c.file+c.option, func(t *testing.T) {
			n := start(t, nil)
			path, option := testdata+c.file, c.option
			source, file := splitFile(t, path)
			if option == "+tb" {
				path, option = convert(t, path, "+tb"), "-xb"
			}
			args := with(titles, option, path)
			if out, err := n.run(t, "storescu", args...); err != nil || len(n.queue.Items()) != 1 {
				t.Fatalf("%v, %d items\n%s", err, len(n.queue.Items()), out)
			}
			m, got := stored(t, n.queue.Items()[0])
			if m.Class != source.Class || m.Syntax != c.syntax || m.Instance != source.Instance && !bytes.Contains(file, []byte(m.Instance)) {
				t.Errorf("header %+v, want class %s, syntax %s", m, source.Class, c.syntax)
			}
			if want := otherReceiver(t, args); !bytes.Equal(got, want) {
				t.Errorf("%d bytes kept, dcmtk keeps %d, and not the same", len(got), len(want))
			}
			readByDCMTK(t, n.queue.Items()[0].Body, m)
			for _, w := range waveforms(file) {
				if !bytes.Contains(littleEndian(t, c.syntax, got, w), w) {
					t.Errorf("a waveform of %d bytes was changed", len(w))
				}
			}
		})
	}
}

// readByDCMTK has dcmdump read the whole file we made and say what its header says.
func readByDCMTK(t *testing.T, file []byte, m dataset.Meta) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kept.dcm")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "dcmdump", "-E", "-Un", "+P", "0002,0003", "+P", "0002,0010", "+P", "0002,0012", path).CombinedOutput()
	for _, want := range []string{m.Instance, m.Syntax, dataset.ImplementationClassUID} {
		if err != nil || !strings.Contains(string(out), "["+want+"]") {
			t.Errorf("dcmdump: %v, lacks %s\n%s", err, want, out)
		}
	}
}

// convert writes a file anew in another transfer syntax with dcmtk's dcmconv.
func convert(t *testing.T, path, to string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "converted.dcm")
	if said, err := exec.CommandContext(t.Context(), "dcmconv", to, path, out).CombinedOutput(); err != nil {
		t.Fatalf("dcmconv: %v\n%s", err, said)
	}
	return out
}

// otherReceiver sends the same to dcmtk's storescp, told to keep bits as they come.
func otherReceiver(t *testing.T, args []string) []byte {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	scp := exec.CommandContext(t.Context(), "storescp", "-od", dir, "+B", "+xa", "-aet", "CLINICGATE", port)
	if err := scp.Start(); err != nil {
		t.Fatal(err)
	}
	defer scp.Wait()
	defer scp.Process.Kill()
	other := &node{addr: net.JoinHostPort("127.0.0.1", port)}
	for range 100 {
		if _, err = other.run(t, "storescu", args...); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("storescp kept %d files, %v", len(files), err)
	}
	_, data := splitFile(t, files[0])
	return data
}

// waveforms finds the values of Waveform Data (5400,1010) in a data set in
// Explicit VR Little Endian.
func waveforms(data []byte) (all [][]byte) {
	for {
		_, rest, ok := bytes.Cut(data, []byte("\x00\x54\x10\x10OW\x00\x00"))
		if !ok {
			return all
		}
		n := binary.LittleEndian.Uint32(rest)
		all = append(all, rest[4:4+n])
		data = rest[4+n:]
	}
}

// littleEndian undoes what the transfer syntax does to 16-bit samples.
func littleEndian(t *testing.T, syntax string, data, wave []byte) []byte {
	t.Helper()
	switch s, _ := dataset.FindSyntax(syntax); {
	case s.Deflated:
		out, err := io.ReadAll(flate.NewReader(bytes.NewReader(data)))
		if err != nil {
			t.Fatal(err)
		}
		return out
	case s.BigEndian:
		swapped := make([]byte, len(wave))
		for i := 0; i+1 < len(wave); i += 2 {
			swapped[i], swapped[i+1] = wave[i+1], wave[i]
		}
		at := bytes.Index(data, swapped)
		if at < 0 {
			return nil
		}
		return wave
	}
	return data
}

func TestStoreSCURefused(t *testing.T) {
	lab.Require(t, lab.Program("storescu"))
	ecg := testdata + "anonymous_12lead_1000Hz.dcm"
	t.Run("full", func(t *testing.T) {
		n := start(t, nil)
		n.queue.SetFull(true)
		out, _ := n.run(t, "storescu", with(titles, "-d", ecg)...)
		if !strings.Contains(out, "0xa700") || !strings.Contains(out, "no room") || len(n.queue.Items()) != 0 {
			t.Error(out)
		}
	})
	t.Run("disk fails", func(t *testing.T) {
		n := start(t, nil)
		n.queue.SetError(memqueue.ErrDisk)
		if out, _ := n.run(t, "storescu", with(titles, "-d", ecg)...); !strings.Contains(out, "0x0110") || len(n.queue.Items()) != 0 {
			t.Error(out)
		}
	})
	t.Run("twice, then with other content", func(t *testing.T) {
		n := start(t, nil)
		for range 2 {
			if out, err := n.run(t, "storescu", with(titles, "-R", "-xe", ecg)...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		if len(n.queue.Items()) != 1 {
			t.Fatalf("%d items, want 1", len(n.queue.Items()))
		}
		b, err := os.ReadFile(ecg)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1000] ^= 1
		other := filepath.Join(t.TempDir(), "other.dcm")
		if err := os.WriteFile(other, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := n.run(t, "storescu", with(titles, "-d", "-R", "-xe", other)...)
		if !strings.Contains(out, "0xc001") || len(n.queue.Items()) != 1 || len(n.faults.List()) != 1 {
			t.Errorf("%v\n%s", n.faults.List(), out)
		}
	})
	t.Run("class not taken", func(t *testing.T) {
		n := start(t, func(o *Options) {})
		b, err := os.ReadFile(testdata + "ct_small.dcm")
		if err != nil {
			t.Fatal(err)
		}
		// CT becomes PET, of the same length with its padding.
		b = bytes.ReplaceAll(b, []byte("1.2.840.10008.5.1.4.1.1.2\x00"), []byte("1.2.840.10008.5.1.4.1.1.20"))
		pet := filepath.Join(t.TempDir(), "pet.dcm")
		if err := os.WriteFile(pet, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := n.run(t, "storescu", with(titles, "-R", pet)...); err == nil || n.queue.Calls() != 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// No log line of a good or a bad day names a patient or an instance.
func TestLogHasNoPatient(t *testing.T) {
	lab.Require(t, lab.Program("storescu"))
	n := start(t, nil)
	for _, f := range []string{"charset_chrFren.dcm", "anonymous_12lead_1000Hz.dcm", "mr_truncated.dcm"} {
		n.run(t, "storescu", with(titles, testdata+f)...)
	}
	for _, it := range n.queue.Items() {
		for k, v := range it.Meta {
			if len(v) > 2 && strings.Contains(k, "patient") && strings.Contains(n.log.String(), v) || strings.Contains(n.log.String(), it.Meta["sop-instance-uid"]) {
				t.Errorf("the log holds %s:\n%s", k, n.log)
			}
		}
	}
	if !strings.Contains(n.log.String(), "dicom stored") {
		t.Error("nothing was logged")
	}
}
