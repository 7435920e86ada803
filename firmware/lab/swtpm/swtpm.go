// Package swtpm runs a TPM 2.0 in software for tests. Its guarantee: it ends with
// the test, and keeps its seeds in the folder it was given.
package swtpm

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

// Start starts a TPM whose state is in dir, and connects to it: the connection
// takes commands and gives answers as /dev/tpmrm0 does, but for what is loaded,
// which is forgotten when told so or at the end.
func Start(tb testing.TB, dir string) net.Conn {
	tb.Helper()
	lab.Require(tb, lab.Program("swtpm"))
	sock := filepath.Join(dir, "tpm.sock")
	_ = os.Remove(sock) // of a run before
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+sock,
		"--ctrl", "type=unixio,path="+filepath.Join(dir, "ctrl.sock"), "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", sock)
		if err == nil {
			tb.Cleanup(func() { c.Close() })
			return c
		}
		if time.Now().After(end) {
			tb.Fatalf("swtpm: %v", err)
		}
	}
}
