package clinic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"clinicgate/firmware/lab/pki"
)

// exampleInterval, exampleReader and exampleHub are the lines of docs/site.example.toml that differ
// from one clinic to the next.
const (
	exampleInterval = `interval  = "50ms"`
	exampleProbe    = `every   = "500ms"`
	exampleReader   = `match = "Gemalto"`
	exampleHub      = `peer_key  = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="`
)

// writeSite makes the content of the clinic's site stick in Dir/stick: the example
// site with real keys, the anchors, and each program's secrets. The devices of
// the LAN get their certificates in Dir/devices.
func (c *Clinic) writeSite(context.Context) error {
	var err error
	if c.keys.hub, err = newWGKey(); err != nil {
		return err
	}
	if c.keys.box, err = newWGKey(); err != nil {
		return err
	}
	if c.keys.pair, err = newWGKey(); err != nil {
		return err
	}
	if c.World, err = pki.New(time.Now()); err != nil {
		return err
	}
	box, err := c.World.Gateway(net.ParseIP(Gateway), net.ParseIP(Own(0)), net.ParseIP(Own(1)))
	if err != nil {
		return err
	}
	for n := range c.boxes() {
		err := first(
			func() error { return os.RemoveAll(c.Stick(n)) },
			func() error { return c.World.WriteAnchors(filepath.Join(c.Stick(n), "anchors")) },
			func() error { return c.writeSiteFile(n) },
			func() error { return c.writeSecrets(n, box) },
		)
		if err != nil {
			return err
		}
	}
	return c.writeDevices()
}

// Stick is the folder with the content of the site stick of box n.
func (c *Clinic) Stick(n int) string { return filepath.Join(c.Dir, Cable("stick", n)) }

func (c *Clinic) writeSiteFile(n int) error {
	text, err := os.ReadFile(filepath.Join(c.Root, "docs/site.example.toml"))
	if err != nil {
		return err
	}
	text, err = replaceOnce(text, exampleHub, fmt.Sprintf("peer_key  = %q", c.keys.hub.Public))
	if err != nil {
		return err
	}
	if c.Reader != "" {
		if text, err = replaceOnce(text, exampleReader, fmt.Sprintf("match = %q", c.Reader)); err != nil {
			return err
		}
	}
	if c.Slow {
		if text, err = replaceOnce(text, exampleInterval, `interval  = "1s"`); err != nil {
			return err
		}
	}
	if c.Pair {
		if text, err = pairSite(text, n); err != nil {
			return err
		}
	}
	if c.Pair && c.Slow { // a box that takes its own pauses for dead lines gives way
		if text, err = replaceOnce(text, exampleProbe, `every   = "2s"`); err != nil {
			return err
		}
	}
	if c.Outer {
		if text, err = outerSite(text, n); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(c.Stick(n), "site.toml"), text, 0o644)
}

func replaceOnce(text []byte, old, new string) ([]byte, error) {
	if n := bytes.Count(text, []byte(old)); n != 1 {
		return nil, fmt.Errorf("docs/site.example.toml: got %q %d times, want it once", old, n)
	}
	return bytes.Replace(text, []byte(old), []byte(new), 1), nil
}

// pairSite makes the example the site file of box n of a pair: what differs between
// the two, and the cable between them.
func pairSite(text []byte, n int) ([]byte, error) {
	var err error
	if n > 0 {
		for old, new := range map[string]string{
			`address = "10.20.0.2/24"`:    `address = "10.20.0.3/24"`,
			`address = "198.51.100.2/24"`: `address = "198.51.100.3/24"`,
			"priority  = 100":             "priority  = 50",
		} {
			if text, err = replaceOnce(text, old, new); err != nil {
				return nil, err
			}
		}
	}
	own, other := 1+n, 2-n
	return fmt.Appendf(text, `
[net.ha]
port    = "ha"
address = "10.77.0.%d/24"
peer    = "10.77.0.%d"

[pair.flows]
listen = "10.77.0.%d:7789"
peer   = "10.77.0.%d:7789"

[sync.mirror]
listen = "10.77.0.%d:7790"
peer   = "10.77.0.%d:7790"
`, own, other, own, other, own, other), nil
}

// outerSite gives the pair an address at ISP B, which moves with the clinic's.
func outerSite(text []byte, n int) ([]byte, error) {
	text, err := replaceOnce(text, `sync      = ""`, `sync      = "clinic"`)
	return fmt.Appendf(text, `
[[pair.group]]
name      = "isp-b"
vrid      = 21
port      = "wan2"
addresses = ["%s/24"]
priority  = %d
sync      = "clinic"
`, Outer, 100-50*n), err
}

func (c *Clinic) writeSecrets(n int, box *pki.Device) error {
	secrets := filepath.Join(c.Stick(n), "secrets")
	return first(
		func() error { return box.Write(filepath.Join(secrets, "cardauth"), "tls") },
		func() error { return box.Write(filepath.Join(secrets, "syncd"), "tls") },
		func() error { return box.Write(filepath.Join(secrets, "panel"), "tls") },
		func() error {
			return os.WriteFile(filepath.Join(secrets, "syncd", "hospital.auth"), []byte(HospitalUser+":"+HospitalPassword+"\n"), 0o600)
		},
		func() error { return os.MkdirAll(filepath.Join(secrets, "netd"), 0o700) },
		func() error {
			return os.WriteFile(filepath.Join(secrets, "netd", "hub.key"), []byte(c.keys.box.Private+"\n"), 0o600)
		},
		func() error { return os.MkdirAll(filepath.Join(secrets, "failoverd"), 0o700) },
		func() error {
			if !c.Pair {
				return nil
			}
			key := []byte(c.keys.pair.Private + "\n")
			return errors.Join(os.WriteFile(filepath.Join(secrets, "failoverd", "ha.key"), key, 0o600), os.WriteFile(filepath.Join(secrets, "syncd", "ha.key"), key, 0o600))
		},
	)
}

// writeDevices makes the certificates of the LAN's devices, and the CA that lets
// them know the box.
func (c *Clinic) writeDevices() error {
	dir := filepath.Join(c.Dir, "devices")
	for kind, name := range map[string]string{"workstation": "ws1", "mqtt": "monitor1"} {
		d, err := c.World.Client(kind, name)
		if err != nil {
			return err
		}
		if err := d.Write(dir, name); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "ca.pem"), c.World.Devices.PEM(), 0o644)
}

// Device is the path of a file of a LAN device: "ca.pem", "ws1.crt", "monitor1.key"...
func (c *Clinic) Device(file string) string { return filepath.Join(c.Dir, "devices", file) }
