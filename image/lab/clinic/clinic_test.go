package clinic

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/lab/relay"
)

func start(t *testing.T) *Clinic {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	lab.Require(t, Needs(root)...)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	bin, err := Build(ctx, root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(ctx, Config{Root: root, Name: fmt.Sprintf("t%d", os.Getpid()), Bin: bin, Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if left, err := netns.List(prefix(c.Name)); err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
		os.RemoveAll(c.Dir)
	})
	return c
}

// TestTheWorldWithoutTheBox proves the path to the hub, the EHR and the hospital
// with a stock WireGuard peer where the box will stand: what fails later is the
// box's.
func TestTheWorldWithoutTheBox(t *testing.T) {
	c := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	box, err := netns.New(prefix(c.Name) + "box")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	wan, err := relay.TAP(box, "wan2")
	if err != nil {
		t.Fatal(err)
	}
	c.Ports[CableB].Plug(wan)
	if err := first(addr(box, "wan2", "198.51.100.2/24"), via(box, "default", "198.51.100.1")); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.Run(ctx, box, "ping", "-c1", "-W5", HubPublic); err != nil {
		t.Fatal(err)
	}
	peer := wgPeer{Key: c.keys.hub.Public, Allowed: "10.99.0.0/24,10.98.0.0/16", Endpoint: HubPublic + ":51820"}
	if _, err := c.wireGuard(ctx, box, "wb-"+c.Name, c.keys.box, "0", peer); err != nil {
		t.Fatal(err)
	}
	err = first(addr(box, "wb-"+c.Name, BoxInside+"/32"),
		func() error { return box.RouteDev("10.98.0.0/16", "wb-"+c.Name) })
	if err != nil {
		t.Fatal(err)
	}

	client := &http.Client{Transport: &http.Transport{DialContext: box.DialContext}, Timeout: 20 * time.Second}
	get := func(url, user string) (int, string) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, url, nil)
		if user != "" {
			req.SetBasicAuth(user, HospitalPassword)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get(EHRBase+"/Patient", ""); code != 200 || strings.Count(body, `"resourceType":"Patient"`) != 3 {
		t.Errorf("EHR: %d %.300s", code, body)
	}
	if code, _ := get(Hospital+"/dicom-web/studies", ""); code != 401 {
		t.Errorf("hospital without a password: %d, want 401", code)
	}
	if code, body := get(Hospital+"/dicom-web/studies", HospitalUser); code != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("hospital: %d %.300s, want no studies", code, body)
	}

	c.Cables[CableB].Cut()
	client.Timeout = time.Second
	if resp, err := client.Get(EHRBase + "/Patient"); err == nil {
		t.Errorf("answered through a cut cable: %s", resp.Status)
	}
}

func TestOneLabPerFolder(t *testing.T) {
	dir := t.TempDir()
	held, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(dir); err == nil || !strings.Contains(err.Error(), "make stop") {
		t.Errorf("a second lab in the same folder: got %v", err)
	}
	held.Close()
	again, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestSweepKeepsTheLiving(t *testing.T) {
	lab.Require(t, lab.Root)
	names := map[string]bool{ // is it swept?
		fmt.Sprintf("cg-t%d-inet", os.Getpid()): false,
		"cg-t99999999-inet":                     true, // no such process: over the kernel's limit
		"cg-sweeptest-inet":                     true, // ours by name
		"cg-other-inet":                         false,
	}
	for name := range names {
		s, err := netns.New(name)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	if err := sweep("sweeptest"); err != nil {
		t.Fatal(err)
	}
	for name, swept := range names {
		left, err := netns.List(name)
		if err != nil || (len(left) == 0) != swept {
			t.Errorf("%s: left %v, %v; want swept %v", name, left, err, swept)
		}
	}
}
