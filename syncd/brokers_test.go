package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"clinicgate/firmware/lab"
)

// A gateway brings what its devices sent to another gateway's broker, which stores
// it: a recording, and a document of several pieces while the first is killed.
func TestBridgesToAnotherGateway(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("mosquitto_pub"))
	hospital, port := newClinic(t), freePort(t)
	hospital.ways(fmt.Sprintf("[sync.mqtt]\nlisten = \"127.0.0.1:%s\"", port))
	hospital.keys()
	hospital.start()

	rural, own := newClinic(t), freePort(t)
	site := fmt.Sprintf(`%s
[sync.mqtt]
listen = "127.0.0.1:%s"
[[sync.destination]]
name = "cloud"
kind = "mqtt"
url = "mqtts://127.0.0.1:%s/clinic/gateway-1"
certificate = "cloud"
anchor = "cloud.pem"
confirm = "broker"
accepts = ["scp-ecg", "pdf"]
`, readFile(t, rural.path("site/site.toml")), own, port)
	rural.must(os.WriteFile(rural.path("site/site.toml"), []byte(site), 0o644))
	rural.must(os.WriteFile(rural.path("site/anchors/cloud.pem"), hospital.world.Devices.PEM(), 0o644))
	rural.keys()
	us, err := hospital.world.Client("mqtt", "gateway-1")
	rural.must(err)
	rural.must(us.Write(rural.path("secrets"), "cloud"))
	device := rural.device("cart-1")
	rural.must(device.Write(rural.dir, "cart-1"))
	rural.must(os.WriteFile(rural.path("ca.pem"), rural.world.Devices.PEM(), 0o644))
	document := rural.path("long.pdf")
	noise := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	noise = bytes.ReplaceAll(noise, []byte("%"), []byte("x"))
	rural.must(os.WriteFile(document, fmt.Appendf(nil, "%%PDF-1.4\n%s\nstartxref\n9\n%%%%EOF\n", noise), 0o600))
	rural.start()
	rural.wait("broker", func() bool { return listens(own) })
	for topic, file := range map[string]string{"clinic/cart-1/ecg": "format/testdata/ecgtoolkit_example.scp", "clinic/cart-1/document": document} {
		out, err := exec.Command("mosquitto_pub", "-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", own, "--insecure", "--cafile", rural.path("ca.pem"),
			"--cert", rural.path("cart-1.crt"), "--key", rural.path("cart-1.key"), "-t", topic, "-f", file).CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_pub: %v\n%s", err, out)
		}
	}
	rural.kill()
	rural.start()
	rural.wait("empty queue", func() bool {
		s := rural.status()
		return len(s.Lanes) > 0 && s.PID == rural.proc.Process.Pid && rural.waiting() == 0
	})
	there := func() int { return hospital.waiting() + hospital.status().Held } // nobody's name is on a PDF
	hospital.wait("items at the hospital", func() bool { return there() >= 2 })
	if n := there(); n != 2 || len(rural.status().Destinations) != 1 || rural.status().Destinations[0].State != "ok" {
		t.Errorf("%d items came, want 2; %+v", n, rural.status().Destinations)
	}
}
