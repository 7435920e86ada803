package upload

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"clinicgate/firmware/lab"
)

// modules are where `make deps` puts tus-js-client.
const modules = "../../build/lab/tusclient/node_modules"

func tusClientThere() error {
	if _, err := os.Stat(modules + "/tus-js-client"); err != nil {
		return errors.New("tus-js-client: not found; `make deps` installs what the labs use")
	}
	return nil
}

// A stock client uploads a file while the line breaks in the middle of a piece,
// again and again; it asks for the offset and goes on.
func TestStockTusClient(t *testing.T) {
	lab.Require(t, lab.Program("node"), tusClientThere)
	n := newNode(t)
	next := n.srv.Config.Handler
	var pieces, asked atomic.Int32
	n.srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			asked.Add(1)
		}
		if r.Method == http.MethodPatch && pieces.Add(1)%2 == 0 {
			r.Body = io.NopCloser(io.LimitReader(r.Body, 1000))
			next.ServeHTTP(&nowhere{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
	dir := t.TempDir()
	d, err := n.world.Client("mqtt", "holter-1")
	must(t, err)
	must(t, d.Write(dir, "holter-1"))
	// The test server's certificate is its own CA.
	ca := filepath.Join(dir, "server.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.srv.Certificate().Raw}), 0o600))
	cmd := exec.CommandContext(t.Context(), "node", "testdata/tusclient/upload.cjs", n.srv.URL+TusPath, ecg, ca,
		filepath.Join(dir, "holter-1.crt"), filepath.Join(dir, "holter-1.key"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "done") {
		t.Fatalf("%v\n%s", err, out)
	}
	if items := n.queue.Items(); len(items) != 1 || !bytes.Equal(items[0].Body, file(t, ecg)) {
		t.Errorf("%d items", len(items))
	}
	if asked.Load() < 2 {
		t.Errorf("the client asked %d times for the offset, want the line broken more often", asked.Load())
	}
}

// nowhere is an answer on a line that broke.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}
