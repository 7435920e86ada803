package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"clinicgate/syncd/serve"
	"clinicgate/syncd/upload"
)

// ecg asks below /ecg with a token.
func (c *clinic) ecg(token, path string) (status int, body, kind string) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:"+c.port+serve.ECGPath+path, nil)
	c.must(err)
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.http.Do(r)
	c.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	c.must(err)
	return resp.StatusCode, string(data), resp.Header.Get("Content-Type")
}

// handOver posts a file as the doctor.
func (c *clinic) handOver(file string) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, "https://127.0.0.1:"+c.port+upload.PostPath, strings.NewReader(file))
	c.must(err)
	r.Header.Set("Authorization", "Bearer "+c.token())
	r.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.http.Do(r)
	c.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		c.t.Fatalf("handed over: %s", resp.Status)
	}
}

// A doctor looks at the ECG that waits for the hospital, while no line works: it was
// just handed in, it is drawn from what is on the disk, also after a power cut; with
// the card out it is nobody's.
func TestDoctorLooksAtAnECG(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.ways("[sync.uploads]\ndevices = [\"holter-1\"]")
	c.keys()
	c.card(c.doctor())
	c.start()
	c.listening()
	type list struct {
		Items []struct{ ID, Kind, State, Name string }
	}
	look := func() (l list) {
		status, body, _ := c.ecg(c.token(), "")
		if status == http.StatusOK {
			c.must(json.Unmarshal([]byte(body), &l))
		}
		return l
	}
	c.wait("cardauth's word", func() bool { s, _, _ := c.ecg(c.token(), ""); return s == http.StatusOK })
	if got := look(); len(got.Items) != 0 {
		t.Fatalf("before anything came: %+v", got)
	}
	for _, name := range []string{"12lead.dcm", "ecgtoolkit.scp", "fda-aecg.xml"} {
		c.handOver(readFile(t, "../image/lab/testdata/ecg/"+name))
	}
	got := look()
	if len(got.Items) != 3 {
		t.Fatalf("handed in three: %+v", got)
	}
	c.kill()
	c.start()
	c.listening()
	c.wait("all three drawn after a power cut", func() bool {
		for _, one := range got.Items {
			status, svg, kind := c.ecg(c.token(), "/"+one.ID)
			if status != http.StatusOK || kind != "image/svg+xml" || !strings.Contains(svg, `id="II-0"`) {
				return false
			}
		}
		return true
	})
	token, path := c.token(), "/"+got.Items[0].ID
	c.card() // out
	c.wait("nobody sees it", func() bool { s, _, _ := c.ecg(token, path); return s == http.StatusUnauthorized })
	if s, body, _ := c.ecg(token, ""); s != http.StatusUnauthorized || strings.Contains(body, got.Items[0].ID) {
		t.Errorf("with the card out the list says %d %s", s, body)
	}
}
