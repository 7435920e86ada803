package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/lab/relay"
	"clinicgate/syncd/deliver/tus"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/vault"
)

// Figures of the bench. A backlog of 5 GB takes 5.8 hours at 2 Mbit/s: all of it
// waits in the queue, and a slice of it is watched.
const (
	drainRate    = 2_000_000 // bit/s, up
	drainLoss    = 0.01      // of the frames, up
	drainDelay   = 50 * time.Millisecond
	drainFile    = 16 << 20
	drainWatched = 60 * time.Second
	drainStats   = 9
	drainCuts    = 10
	ecgSize      = 150_000
)

// A rural is a clinic on a thin line to the hospital: two namespaces, and a cable
// that delays, loses and limits between them.
type rural struct {
	b           *testing.B
	clinic, far *netns.Space
	line        *relay.Link
	dir         string
}

// good is the line as it is between cuts.
func (r *rural) good() {
	r.line.SetAB(relay.Faults{Rate: drainRate, Loss: drainLoss, Delay: drainDelay})
	r.line.SetBA(relay.Faults{Rate: 5 * drainRate, Delay: drainDelay})
}

func newRural(b *testing.B) *rural {
	b.Helper()
	lab.Require(b, lab.Root, lab.Program("Orthanc", "iperf3", "storescu"))
	r := &rural{b: b, dir: b.TempDir()}
	r.clinic, r.far = r.space("a"), r.space("b")
	ends := []relay.End{}
	for _, s := range []*netns.Space{r.clinic, r.far} {
		end, err := relay.TAP(s, "line")
		r.must(err)
		ends = append(ends, end)
	}
	r.line = relay.New(ends[0], ends[1], 7)
	b.Cleanup(func() { r.line.Close() })
	for i, s := range []*netns.Space{r.clinic, r.far} {
		r.must(s.Up("lo"))
		r.must(s.Addr("line", fmt.Sprintf("10.77.0.%d/24", i+1)))
		r.must(s.Up("line"))
	}
	r.good()
	return r
}

func (r *rural) space(what string) *netns.Space {
	s, err := netns.New(fmt.Sprintf("cg-t%d-%s", os.Getpid(), what))
	r.must(err)
	r.b.Cleanup(func() { s.Close() })
	return s
}

func (r *rural) must(err error) {
	r.b.Helper()
	if err != nil {
		r.b.Fatal(err)
	}
}

func (r *rural) start(spec proc.Spec) *proc.Proc {
	r.b.Helper()
	spec.Log = filepath.Join(r.dir, spec.Name+".log")
	p, err := proc.Start(spec)
	r.must(err)
	r.b.Cleanup(p.Kill)
	return p
}

// arrived counts the bytes that came out of the line at the far end.
func (r *rural) arrived() (n int64) {
	r.b.Helper()
	out, err := proc.Run(context.Background(), r.far, "cat", "/proc/net/dev")
	r.must(err)
	for _, l := range strings.Split(string(out), "\n") {
		if f := strings.Fields(strings.Replace(l, ":", ": ", 1)); len(f) > 2 && f[0] == "line:" {
			n, err = strconv.ParseInt(f[1], 10, 64)
			r.must(err)
		}
	}
	return n
}

// share is the rate at which bytes arrive while something is sent, in bit/s.
func (r *rural) share(over time.Duration) float64 {
	from, began := r.arrived(), time.Now()
	time.Sleep(over)
	return float64(8*(r.arrived()-from)) / time.Since(began).Seconds()
}

// iperf is what one TCP connection of iperf3 gets out of the line.
func (r *rural) iperf(streams int) float64 {
	server := r.start(proc.Spec{Name: "iperf3", Space: r.far, Args: []string{"iperf3", "-s", "-1", "-B", "10.77.0.2"}})
	r.must(server.WaitPort(context.Background(), "10.77.0.2:5201"))
	server.Kill() // the look at the port was its one connection
	server = r.start(proc.Spec{Name: "iperf3", Space: r.far, Args: []string{"iperf3", "-s", "-B", "10.77.0.2"}})
	r.must(server.WaitPort(context.Background(), "10.77.0.2:5201"))
	client := r.start(proc.Spec{Name: "iperf3-client", Space: r.clinic, Args: []string{"iperf3", "-c", "10.77.0.2", "-P", strconv.Itoa(streams), "-t", "40"}})
	time.Sleep(5 * time.Second)
	rate := r.share(30 * time.Second)
	<-client.Done()
	server.Kill()
	return rate
}

// receiver is the program at the far end that takes files by tus: TestMain starts
// it. What it read before a connection broke it holds. GET /came says how many
// bytes of bodies came, and how many of them it holds.
func receiver() {
	var mu sync.Mutex
	var came, held int64
	holds := map[string]int64{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /files", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		id := strconv.Itoa(len(holds))
		holds[id] = 0
		w.Header().Set("Location", "/files/"+id)
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("HEAD /files/{id}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Upload-Offset", strconv.FormatInt(holds[r.PathValue("id")], 10))
	})
	mux.HandleFunc("PATCH /files/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		at, _ := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
		n, err := io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		came += n
		if err == nil && at == holds[id] { // a chunk counts whole or not at all: the hardest case
			holds[id] += n
			held += n
		}
		w.Header().Set("Upload-Offset", strconv.FormatInt(holds[id], 10))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /came", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%d %d", came, held)
	})
	if err := http.ListenAndServe(os.Args[1], mux); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// came asks the receiver.
func (r *rural) came() (came, held int64) {
	r.b.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: r.far.DialContext, DisableKeepAlives: true}}
	resp, err := client.Get("http://10.77.0.2:8200/came")
	r.must(err)
	defer resp.Body.Close()
	_, err = fmt.Fscan(resp.Body, &came, &held)
	r.must(err)
	return came, held
}

// backlog fills the queue of a syncd that is not running.
func (r *rural) backlog(state, secrets string, size int64) {
	r.b.Helper()
	v, err := vault.Open(secrets)
	r.must(err)
	q, err := queue.Open(filepath.Join(state, "queue"), queue.Options{Domain: v.Domain("uploads")})
	r.must(err)
	file := make([]byte, drainFile)
	rand.Read(file)
	began := time.Now()
	for n := int64(0); n < size; n += drainFile {
		binary.BigEndian.PutUint64(file, uint64(n))
		_, err := q.Accept(context.Background(), queue.Item{
			Key: fmt.Sprint("bench:", n), Lane: lane.Bulk, Kind: "pdf", Origin: "holter", Order: fmt.Sprint(n % (8 * drainFile)), Meta: map[string]string{},
		}, bytes.NewReader(file))
		r.must(err)
	}
	r.must(q.Close())
	fmt.Printf("a backlog of %d MB was accepted in %v\n", size>>20, time.Since(began).Round(time.Second))
}

// ecg is an ECG of the wanted size under its own UID: the head of a real one, and
// padding (PS3.3 §C.12, Data Set Trailing Padding).
func ecg(b *testing.B, n int) []byte {
	b.Helper()
	file := []byte(readFile(b, "../image/lab/testdata/ecg/12lead.dcm"))
	uid := regexp.MustCompile(`1\.3\.6\.1\.4\.1\.20029\.40\.[0-9.]+`).Find(file)
	other := slices.Clone(uid)
	copy(other[len(other)-12:], fmt.Sprintf(".%d.%d.1", 10000+n, 100+n)[:12])
	file = bytes.ReplaceAll(file, uid, other)
	cut := bytes.Index(file, []byte("\x00\x54\x00\x01SQ"))
	if cut < 0 {
		b.Fatal("the ECG has no waveforms")
	}
	file = file[:cut]
	pad := (ecgSize - len(file)) &^ 1
	file = append(file, "\xfc\xff\xfc\xffOB\x00\x00"...)
	file = binary.LittleEndian.AppendUint32(file, uint32(pad))
	return append(file, make([]byte, pad)...)
}

// BenchmarkDrain: a backlog leaves over a thin, lossy line while urgent ECGs come
// in and the line is cut. BACKLOG_MB: its size (5000).
func BenchmarkDrain(b *testing.B) {
	r := newRural(b)
	size := int64(5000) << 20
	if mb, err := strconv.ParseInt(os.Getenv("BACKLOG_MB"), 10, 64); err == nil {
		size = mb << 20
	}
	one, three := r.iperf(1), r.iperf(3)
	c := r.syncd(size)
	began := time.Now()
	for came := int64(0); came == 0; came, _ = r.came() {
		if time.Since(began) > time.Minute {
			b.Fatal("the backlog does not begin to leave")
		}
		time.Sleep(time.Second)
	}
	share := r.share(drainWatched)
	stats := r.urgent(c)
	resent := r.cuts()
	load, _ := os.ReadFile("/proc/loadavg")
	type figure struct {
		Metric    string  `json:"metric"`
		Value     float64 `json:"value"`
		Unit      string  `json:"unit"`
		Peer      string  `json:"peer"`
		PeerValue float64 `json:"peer_value"`
		Ratio     float64 `json:"ratio"`
		N         int     `json:"n"`
	}
	slices.Sort(stats)
	figures := []figure{
		{"drain.stat_s", stats[len(stats)/2], "s", "goal", 2, stats[len(stats)/2] / 2, len(stats)},
		{"drain.stat_worst_s", stats[len(stats)-1], "s", "goal", 2, stats[len(stats)-1] / 2, len(stats)},
		{"drain.link_share", share / 1e6, "Mbit/s", "iperf3, one connection", one / 1e6, share / one, 1},
		{"drain.link_share_3", share / 1e6, "Mbit/s", "iperf3, three connections", three / 1e6, share / three, 1},
		{"drain.resent_chunks_per_cut", resent, "chunks", "goal", 1, resent, drainCuts},
		{"drain.backlog_mb", float64(size >> 20), "MB", "watched_s", drainWatched.Seconds(), 0, 1},
	}
	for _, f := range figures {
		fmt.Printf("%-30s %8.2f %-7s | %8.2f %s, ratio %.3f (n %d)\n", f.Metric, f.Value, f.Unit, f.PeerValue, f.Peer, f.Ratio, f.N)
	}
	fmt.Printf("load %s", load)
	data, err := json.MarshalIndent(figures, "", "  ")
	r.must(err)
	r.must(os.MkdirAll("../build/bench", 0o755))
	r.must(os.WriteFile("../build/bench/drain.json", append(data, '\n'), 0o644))
}

// syncd starts the far side and then the gateway with its backlog.
func (r *rural) syncd(size int64) *proc.Proc {
	r.b.Helper()
	orthanc := filepath.Join(r.dir, "orthanc")
	r.must(os.MkdirAll(orthanc, 0o700))
	conf, err := json.Marshal(map[string]any{
		"StorageDirectory": orthanc, "IndexDirectory": orthanc, "HttpPort": 8042, "DicomServerEnabled": false, "RemoteAccessAllowed": true,
		"AuthenticationEnabled": false, "Plugins": []string{"/usr/share/orthanc/plugins/libOrthancDicomWeb.so"},
	})
	r.must(err)
	r.must(os.WriteFile(filepath.Join(orthanc, "c.json"), conf, 0o600))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := r.start(proc.Spec{Name: "orthanc", Space: r.far, Args: []string{"Orthanc", filepath.Join(orthanc, "c.json")}})
	r.must(o.WaitPort(ctx, "10.77.0.2:8042"))
	self, err := os.Executable()
	r.must(err)
	t := r.start(proc.Spec{Name: "receiver", Space: r.far, Args: []string{self, "10.77.0.2:8200"}, Env: []string{"CLINICGATE_TEST_PROGRAM=receiver"}})
	r.must(t.WaitPort(ctx, "10.77.0.2:8200"))
	for _, d := range []string{"site/anchors", "secrets", "state", "run"} {
		r.must(os.MkdirAll(filepath.Join(r.dir, d), 0o755))
	}
	r.backlog(filepath.Join(r.dir, "state"), filepath.Join(r.dir, "secrets"), size)
	r.must(os.WriteFile(filepath.Join(r.dir, "site/site.toml"), []byte(`[site]
name = "Bench"
code = "B-1"
[sync]
listen = "127.0.0.1:8443"
devices = "devices.pem"
[sync.ehr]
base = "http://10.77.0.2:9/fhir"
[sync.dicom]
listen = "127.0.0.1:11112"
title = "CLINICGATE"
[[sync.destination]]
name = "hospital"
kind = "stow"
url = "http://10.77.0.2:8042/dicom-web"
accepts = ["dicom"]
[[sync.destination]]
name = "store"
kind = "tus"
url = "http://10.77.0.2:8200/files"
accepts = ["pdf"]
patients = "any"
`), 0o644))
	in := func(p string) string { return filepath.Join(r.dir, p) }
	p := r.start(proc.Spec{Name: "syncd", Space: r.clinic, Env: []string{"CLINICGATE_TEST_PROGRAM=syncd"},
		Args: []string{self, "-site", in("site/site.toml"), "-secrets", in("secrets"), "-state", in("state"), "-run", in("run")}})
	r.must(p.WaitPort(ctx, "127.0.0.1:11112"))
	return p
}

// urgent sends ECGs in, one after the other, and says how long each took from its
// acknowledgement to the archive's receipt, in seconds.
func (r *rural) urgent(syncd *proc.Proc) (took []float64) {
	r.b.Helper()
	said := regexp.MustCompile(`"to":"hospital".*"since_accepted":"([^"]+)"`)
	for n := range drainStats {
		file := filepath.Join(r.dir, "ecg.dcm")
		r.must(os.WriteFile(file, ecg(r.b, n), 0o600))
		if out, err := proc.Run(context.Background(), r.clinic, "storescu", "-aet", "CART", "-aec", "CLINICGATE", "127.0.0.1", "11112", file); err != nil {
			r.b.Fatalf("storescu: %v\n%s", err, out)
		}
		var all [][][]byte
		for end := time.Now().Add(2 * time.Minute); len(all) <= n; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				r.b.Fatalf("ECG %d is not there\n%s", n, syncd.Tail(20))
			}
			out, err := syncd.Output()
			r.must(err)
			all = said.FindAllSubmatch(out, -1)
		}
		d, err := time.ParseDuration(string(all[n][1]))
		r.must(err)
		took = append(took, d.Seconds())
		time.Sleep(5 * time.Second) // the backlog takes the line again
	}
	return took
}

// cuts breaks the line ten times, longer than connections last, and says how much
// came that the receiver could not use, in chunks per cut.
func (r *rural) cuts() float64 {
	came, held := r.came()
	before := came - held
	for range drainCuts {
		r.line.Cut()
		time.Sleep(25 * time.Second)
		_, was := r.came()
		r.good()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
			if _, now := r.came(); now > was+tus.Chunk {
				break
			}
			if time.Now().After(end) {
				r.b.Fatal("the backlog does not go on after a cut")
			}
		}
	}
	came, held = r.came()
	return float64(came-held-before) / tus.Chunk / drainCuts
}
