package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/twin"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/syncd/upload"
)

// Of the sample. Copies of it differ in the last eight characters.
const (
	studyUID    = "1.3.76.13.65829.2.20130125082826.1072139.2"
	seriesUID   = "1.3.6.1.4.1.20029.40.20130125105919.5407.1"
	instanceUID = "1.3.6.1.4.1.20029.40.20130125105919.5407.1.1"
	patientID   = "642341"
)

func uidOf(n int) string { return fmt.Sprintf("%s1%07d", instanceUID[:len(instanceUID)-8], n) }

// patientOf is whose instance it is: each is another patient's, for a patient's go in
// order.
func patientOf(uid string) string { return "7" + uid[len(uid)-5:] }

// ecgOf is a 12-lead ECG that differs from all others.
func ecgOf(t testing.TB, n int) []byte {
	t.Helper()
	file := bytes.ReplaceAll([]byte(readFile(t, "../image/lab/testdata/ecg/12lead.dcm")), []byte(instanceUID), []byte(uidOf(n)))
	return bytes.ReplaceAll(file, []byte(patientID), []byte(patientOf(uidOf(n))))
}

// An archive speaks as much DICOMweb as a destination must, counts what it was sent,
// and loses some of its answers.
type archive struct {
	mu    sync.Mutex
	has   map[string][]byte
	times map[string]int
	lossy atomic.Bool
	slow  atomic.Int64 // milliseconds
}

func (a *archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(a.slow.Load()) * time.Millisecond)
	lose := a.lossy.Load() && rand.IntN(8) == 0
	w.Header().Set("Content-Type", "application/dicom+json")
	switch {
	case r.Method == http.MethodPost:
		_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		part, err := multipart.NewReader(r.Body, params["boundary"]).NextRawPart()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(part)
		at := bytes.Index(body, []byte(instanceUID[:len(instanceUID)-8]+"1"))
		if err != nil || at < 0 {
			panic(http.ErrAbortHandler)
		}
		uid := string(body[at : at+len(instanceUID)])
		a.mu.Lock()
		a.has[uid] = body
		a.times[uid]++
		a.mu.Unlock()
		if lose {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, `{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":[%q]}}]}}`, uid)
	case r.URL.Path == "/instances":
		uid := r.URL.Query().Get("SOPInstanceUID")
		a.mu.Lock()
		body := a.has[uid]
		a.mu.Unlock()
		if body == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		fmt.Fprintf(w, `[{"00080018":{"Value":[%q]},"0020000D":{"Value":[%q]},"0020000E":{"Value":[%q]},"00100020":{"Value":[%q]}}]`,
			uid, studyUID, seriesUID, patientOf(uid))
	default:
		a.mu.Lock()
		body := a.has[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
		a.mu.Unlock()
		m := multipart.NewWriter(w)
		w.Header().Set("Content-Type", `multipart/related; type="application/dicom"; boundary=`+m.Boundary())
		part, err := m.CreatePart(map[string][]string{"Content-Type": {"application/dicom"}})
		if err == nil {
			_, err = part.Write(body)
		}
		if err != nil || lose || m.Close() != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

func (a *archive) count() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.has)
}

// A duo is a pair of boxes as processes, with one hospital, a cart that has
// certificates for both, and failoverd's word given by the test.
type duo struct {
	t    *testing.T
	box  [2]*clinic
	cart *http.Client
	pacs *archive
	url  string
	more string // of [sync.mirror]
}

func newDuo(t *testing.T, more string) *duo {
	t.Helper()
	d := &duo{t: t, pacs: &archive{has: map[string][]byte{}, times: map[string]int{}}, more: more}
	d.url = httpServer(t, d.pacs)
	world, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var at [2]string
	for i, host := range []string{"127.0.0.1", "127.0.0.2"} {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		at[i] = l.Addr().String()
		l.Close()
	}
	for i := range d.box {
		d.box[i] = d.newBox(world, at[i], at[1-i])
	}
	cart, err := world.Client("mqtt", "cart-1")
	if err != nil {
		t.Fatal(err)
	}
	d.cart = d.box[0].client(cart.TLS())
	return d
}

func (d *duo) newBox(world *pki.World, own, other string) *clinic {
	c := newClinic(d.t)
	c.world = world
	c.must(world.WriteAnchors(c.path("site/anchors")))
	site := readFile(d.t, c.path("site/site.toml")) + fmt.Sprintf(`
[sync.uploads]
devices = ["cart-1"]
[sync.mirror]
port = "lo"
listen = %q
peer = %q
%s
[[sync.destination]]
name = "hospital"
kind = "stow"
url = %q
accepts = ["dicom"]
`, own, other, d.more, d.url)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.keys()
	c.must(os.WriteFile(c.path("secrets/"+twin.KeyFile), []byte("qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=\n"), 0o600))
	c.card()
	return c
}

// role is failoverd's word in a box.
func (d *duo) role(i int, role string) {
	d.t.Helper()
	d.box[i].must(wirefile.Publish(d.box[i].path("run"), wire.FailoverFile, &wire.Failover{
		Header: wire.Header{V: 1, PID: os.Getpid()}, Groups: []wire.Group{{Name: "lan", Role: role}},
	}, 0o640))
}

func (d *duo) start(i int) {
	d.t.Helper()
	c := d.box[i]
	_ = os.Remove(c.path("run/" + wire.SyncFile)) // what the last life said
	c.start()
	c.listening()
}

// met waits until each box tells the other and nothing is behind.
func (d *duo) met() {
	d.t.Helper()
	for _, c := range d.box {
		c.wait("mirror", func() bool { m := c.status().Mirror; return m != nil && m.Alive && m.Behind == 0 })
	}
}

// send hands an ECG over and reports whether it was acknowledged.
func (d *duo) send(i, n int) bool {
	r, err := http.NewRequest(http.MethodPost, "https://127.0.0.1:"+d.box[i].port+upload.PostPath, bytes.NewReader(ecgOf(d.t, n)))
	d.box[i].must(err)
	r.Header.Set("Content-Type", "application/dicom")
	resp, err := d.cart.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode/100 == 2
}

// once holds the hospital against what was acknowledged: there, and sent once.
func (d *duo) once(acked []int) {
	d.t.Helper()
	d.pacs.mu.Lock()
	defer d.pacs.mu.Unlock()
	for _, n := range acked {
		if times := d.pacs.times[uidOf(n)]; times != 1 {
			d.t.Errorf("ECG %d was acknowledged and sent %d times", n, times)
		}
		if !bytes.Equal(d.pacs.has[uidOf(n)], ecgOf(d.t, n)) {
			d.t.Errorf("ECG %d arrived altered", n)
		}
	}
	for uid, n := range d.pacs.times {
		if n != 1 {
			d.t.Errorf("%s was sent %d times", uid, n)
		}
	}
}

// delivered waits until the hospital has so many and a box has none that wait: what
// was being sent as the other box was lost is left alone for a while.
func (d *duo) delivered(i, n int) {
	d.t.Helper()
	for end := time.Now().Add(90 * time.Second); d.pacs.count() != n || d.box[i].waiting() != 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("%d of %d are at the hospital; syncd.json: %+v", d.pacs.count(), n, d.box[i].status())
		}
	}
}

func (d *duo) gone(i int) {
	d.t.Helper()
	d.box[i].kill()
	d.box[i].must(os.RemoveAll(d.box[i].path("state")))
	for _, f := range []string{"keys.json"} {
		_ = os.Remove(d.box[i].path("secrets/" + f))
	}
}

// What both boxes acknowledged survives the loss of either disk. The hospital is out
// of reach; the master dies with its disk; the other box takes over and delivers all
// of it, once. Then the first one comes back empty, is told everything, and the
// second one's disk is lost in turn.
func TestPairLosesADisk(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Root)       // to bind to a port
	d := newDuo(t, `wait = "30s"`) // nobody goes on alone because this machine is busy
	d.pacs.slow.Store(400)         // most of it waits while the first box lives
	d.pacs.lossy.Store(true)
	d.role(0, wire.RoleMaster)
	d.role(1, wire.RoleBackup)
	d.start(0)
	d.start(1)
	d.met()
	if d.box[1].status().Mirror.Delivers || !d.box[0].status().Mirror.Delivers {
		t.Errorf("delivers: %v and %v, want the master alone", d.box[0].status().Mirror, d.box[1].status().Mirror)
	}
	var acked []int
	for n := range 12 {
		if d.send(0, n) {
			acked = append(acked, n)
		}
	}
	if len(acked) != 12 {
		t.Fatalf("%d of 12 were acknowledged", len(acked))
	}
	if m := d.box[0].status().Mirror; m.Alone != 0 {
		t.Errorf("acknowledged alone: %+v", m)
	}
	d.gone(0)
	d.role(1, wire.RoleMaster)
	for n := 12; n < 16; n++ { // the clinic goes on, with one box
		if d.send(1, n) {
			acked = append(acked, n)
		}
	}
	d.pacs.slow.Store(0)
	d.pacs.lossy.Store(false)
	d.delivered(1, len(acked))
	d.once(acked)

	d.role(0, wire.RoleBackup)
	d.start(0)
	d.met()
	d.pacs.slow.Store(400)
	for n := 16; n < 22; n++ {
		if d.send(1, n) {
			acked = append(acked, n)
		}
	}
	d.gone(1)
	d.role(0, wire.RoleMaster)
	d.pacs.slow.Store(0)
	d.delivered(0, len(acked))
	if len(acked) != 22 {
		t.Errorf("%d of 22 were acknowledged", len(acked))
	}
	d.once(acked)
}

// Roles change while the hospital is slow and loses answers: what is under way is
// broken off, the new master asks first, and nothing is sent twice.
func TestPairHandsOver(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Root)
	d := newDuo(t, `wait = "30s"`)
	d.pacs.lossy.Store(true)
	d.pacs.slow.Store(30)
	d.role(0, wire.RoleMaster)
	d.role(1, wire.RoleBackup)
	d.start(0)
	d.start(1)
	d.met()
	master := 0
	var acked []int
	for n := range 30 {
		if d.send(master, n) {
			acked = append(acked, n)
		}
		if n%8 == 7 {
			d.role(master, wire.RoleBackup)
			master = 1 - master
			d.role(master, wire.RoleMaster)
		}
	}
	d.pacs.lossy.Store(false)
	d.delivered(master, len(acked))
	for _, c := range d.box {
		c.wait("nothing that waits", func() bool { return c.waiting() == 0 })
	}
	d.once(acked)
}

// Where the site wants it, nothing is acknowledged by one box alone; and that is
// said.
func TestPairRefusesAlone(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Root)
	d := newDuo(t, `alone = "refuse"
wait = "30s"`)
	d.role(0, wire.RoleMaster)
	d.start(0)
	if d.send(0, 1) {
		t.Error("an ECG was acknowledged by one box alone")
	}
	d.box[0].wait("word of it", func() bool { m := d.box[0].status().Mirror; return m != nil && !m.Alive && m.Refuses && m.Reason != "" })
	d.start(1)
	d.met()
	if !d.send(0, 1) {
		t.Error("it is refused though both are there")
	}
	d.box[0].wait("it at the hospital", func() bool { return d.pacs.count() == 1 })
}

func TestAloneFault(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		m    wire.Mirror
		want wire.Severity
	}{
		"alive":                      {wire.Mirror{Alive: true}, ""},
		"just fell":                  {wire.Mirror{Since: now.Add(-time.Second)}, ""},
		"just fell, one taken alone": {wire.Mirror{Since: now.Add(-time.Second), Alone: 1, Behind: 1}, wire.Alarm},
		"missing, nothing waits":     {wire.Mirror{Since: now.Add(-time.Hour)}, wire.Warning},
		"missing, refused":           {wire.Mirror{Since: now.Add(-time.Hour), Refuses: true}, wire.Alarm},
	} {
		var got wire.Severity
		if f := alone(&c.m, now); len(f) > 0 {
			got = f[0].Severity
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
