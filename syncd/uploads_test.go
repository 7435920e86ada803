package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
)

// An ECG cart sends; the box is killed right behind its success; the ECG waits.
func TestUploadOutlivesAKill(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("storescu", "echoscu"))
	c := newClinic(t)
	port := freePort(t)
	site := fmt.Sprintf(`%s
[sync.dicom]
listen = "127.0.0.1:%s"
title = "CLINICGATE"
callers = ["ECGCART"]
[[sync.destination]]
name = "hospital"
kind = "stow"
url = "http://127.0.0.1:9/dicom-web"
auth = "hospital.auth"
accepts = ["dicom"]
`, readFile(t, c.path("site/site.toml")), port)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	c.start()
	cart := func(program, title string, more ...string) error {
		args := append([]string{"-aet", title, "-aec", "CLINICGATE", "127.0.0.1", port}, more...)
		out, err := exec.Command(program, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	c.wait("DICOM node", func() bool { return cart("echoscu", "ECGCART") == nil })
	if err := cart("storescu", "STRANGER", "../image/lab/testdata/ecg/12lead.dcm"); err == nil {
		t.Error("a stranger's ECG was taken")
	}
	c.must(cart("storescu", "ECGCART", "../image/lab/testdata/ecg/12lead.dcm"))
	c.kill()

	waits := func() bool {
		n := 0
		for _, l := range c.status().Lanes {
			n += l.Waiting
		}
		return n == 1
	}
	c.must(os.Remove(c.path("run/" + wire.SyncFile)))
	c.start()
	c.wait("the ECG in the queue", waits)
	// The password file is missing: that is the destination's fault alone.
	c.wait("word of the missing password", func() bool {
		d := c.status().Destinations
		return len(d) == 1 && d[0].Name == "hospital" && d[0].State == "refusing" && c.fault("destination.refusing")
	})
	c.must(os.WriteFile(c.path("secrets/hospital.auth"), []byte("user:password\n"), 0o600))
	c.wait("an attempt", func() bool { return c.status().Destinations[0].State == "unreachable" })
	if !waits() {
		t.Error("the ECG does not wait any more")
	}
}
