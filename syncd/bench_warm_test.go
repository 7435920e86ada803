package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/lab/relay"
	"clinicgate/syncd/fhir"
)

// The line of a clinic.
const (
	lineRate  = 10_000_000 // bits per second
	lineDelay = 40 * time.Millisecond
)

// BenchmarkWarm fetches a day of 450 patients ahead over 10 Mbit/s with 80 ms of round
// trip, from an EHR that has $everything and gzip, and counts the bytes on the line. A
// plain client reads the same records of a tenth of the patients, type by type and
// without gzip; its figure is that times ten. It writes build/bench/warm.json; run it
// with -benchtime 1x. WARM_PATIENTS (450) makes it smaller.
func BenchmarkWarm(b *testing.B) {
	lab.Require(b, lab.Root)
	patients := asked("WARM_PATIENTS", 450)
	w := newFarEHR(b, patients)
	c := newClinic(b)
	site := strings.Replace(readFile(b, c.path("site/site.toml")), c.ehr.srv.URL, "http://10.9.0.2", 1)
	site = strings.Replace(site, "timeout = \"1500ms\"", "timeout = \"30s\"", 1)
	site = strings.Replace(site, "size_mb = 64", "size_mb = 8192", 1)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site+"[sync.warm]\n"), 0o644))
	c.keys()
	c.card(c.doctor())
	before, begin := w.bytes(), time.Now()
	p, err := proc.Start(proc.Spec{
		Name: "syncd", Space: w.box, Log: c.path("syncd.log"), Env: []string{"CLINICGATE_TEST_PROGRAM=syncd"},
		Args: []string{os.Args[0], "-site", c.path("site/site.toml"), "-secrets", c.path("secrets"), "-state", c.path("state"), "-run", c.path("run")},
	})
	c.must(err)
	b.Cleanup(p.Kill)
	held := regexp.MustCompile(`syncd_ahead_patients_held (\d+)`)
	for end := begin.Add(time.Hour); ; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("not done in an hour:\n%s", p.Tail(20))
		}
		if _, err := os.Stat(c.path("run/syncd.sock")); err != nil {
			continue
		}
		if m := held.FindStringSubmatch(c.control("/metrics")); m != nil && m[1] == fmt.Sprint(patients) {
			break
		}
	}
	took, ours := time.Since(begin), w.bytes()-before
	sample := max(1, patients/10)
	before, begin = w.bytes(), time.Now()
	w.plain(sample)
	plain, plainTook := (w.bytes()-before)*float64(patients)/float64(sample), time.Since(begin).Seconds()*float64(patients)/float64(sample)
	writeFigures(b, "warm", []figure{
		beside("warm.bytes", ours, "B", "a plain client reading the same by type, without gzip", plain, patients),
		beside("warm.seconds", took.Seconds(), "s", "that client, one question at a time", plainTook, patients),
		{Metric: "warm.line_share", Value: ours * 8 / lineRate / took.Seconds(), Unit: "", N: patients},
	})
}

// A farEHR is an EHR behind the clinic's line.
type farEHR struct {
	b          *testing.B
	box, cloud *netns.Space
	patients   int
	kinds      []map[string][]string // of a patient: type → resources, "@@" for the patient's number
}

func newFarEHR(b *testing.B, patients int) *farEHR {
	w := &farEHR{b: b, patients: patients}
	for _, name := range []string{"alva-dickinson", "cecelia-romaguera"} {
		w.kinds = append(w.kinds, w.load("../image/lab/testdata/synthea/"+name+".json.gz"))
	}
	ends := make([]relay.End, 2)
	for i, into := range []**netns.Space{&w.box, &w.cloud} {
		s, err := netns.New(fmt.Sprintf("cg-t%d-warm%d", os.Getpid(), i))
		w.must(err)
		b.Cleanup(func() { s.Close() })
		ends[i], err = relay.TAP(s, "lan")
		w.must(err)
		*into = s
	}
	link := relay.New(ends[0], ends[1], 1)
	b.Cleanup(func() { link.Close() })
	link.Set(relay.Faults{Delay: lineDelay, Rate: lineRate})
	for s, addr := range map[*netns.Space]string{w.box: "10.9.0.1/24", w.cloud: "10.9.0.2/24"} {
		w.must(s.Up("lo"))
		w.must(s.Up("lan"))
		w.must(s.Addr("lan", addr))
	}
	var l net.Listener
	w.must(w.cloud.Do(func() (err error) { l, err = net.Listen("tcp", "10.9.0.2:80"); return err }))
	srv := &http.Server{Handler: w}
	b.Cleanup(func() { srv.Close() })
	go func() { _ = srv.Serve(l) }()
	return w
}

func (w *farEHR) must(err error) {
	w.b.Helper()
	if err != nil {
		w.b.Fatal(err)
	}
}

// load makes a pattern of a Synthea patient: what is searched for by patient, with
// references as a server would have them.
func (w *farEHR) load(path string) map[string][]string {
	f, err := os.Open(path)
	w.must(err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	w.must(err)
	var bundle struct {
		Entry []struct {
			FullURL  string
			Resource json.RawMessage
		}
	}
	w.must(json.NewDecoder(z).Decode(&bundle))
	type typed struct{ ResourceType, ID string }
	var names []string
	for _, e := range bundle.Entry {
		var t typed
		w.must(json.Unmarshal(e.Resource, &t))
		names = append(names, e.FullURL, t.ResourceType+"/"+t.ID+"@@", `"id":"`+t.ID+`"`, `"id":"`+t.ID+`@@"`)
	}
	rename := strings.NewReplacer(names...)
	all := map[string][]string{}
	for _, e := range bundle.Entry {
		var t typed
		w.must(json.Unmarshal(e.Resource, &t))
		if slices.Contains(fhir.Searchable(), t.ResourceType) {
			var short bytes.Buffer
			w.must(json.Compact(&short, e.Resource))
			all[t.ResourceType] = append(all[t.ResourceType], rename.Replace(short.String()))
		}
	}
	return all
}

func (w *farEHR) kind(n int) map[string][]string { return w.kinds[n%len(w.kinds)] }

// patient is the id of the n-th.
func (w *farEHR) patient(n int) string {
	_, rest, _ := strings.Cut(w.kind(n)["Patient"][0], `"id":"`)
	id, _, _ := strings.Cut(rest, "@@")
	return fmt.Sprint(id, "-", n)
}

func (w *farEHR) bundle(n int, types ...string) string {
	var entries []string
	for _, t := range types {
		for _, r := range w.kind(n)[t] {
			entries = append(entries, `{"resource":`+strings.ReplaceAll(r, "@@", fmt.Sprint("-", n))+`}`)
		}
	}
	return `{"resourceType":"Bundle","type":"searchset","entry":[` + strings.Join(entries, ",") + `]}`
}

// ServeHTTP answers the day's list, all of a patient, and searches by patient.
func (w *farEHR) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/fhir/R4/")
	var body string
	switch {
	case path == "Appointment" && r.URL.Query().Get("patient") == "":
		var all []string
		for n := range w.patients {
			all = append(all, fmt.Sprintf(`{"resource":{"resourceType":"Appointment","id":"a%d","start":%q,"participant":[{"actor":{"reference":"Patient/%s"}}]}}`,
				n, time.Now().Add(12*time.Hour).UTC().Format(time.RFC3339), w.patient(n)))
		}
		body = `{"resourceType":"Bundle","type":"searchset","entry":[` + strings.Join(all, ",") + `]}`
	case strings.HasSuffix(path, "/$everything"):
		body = w.bundle(w.number(strings.TrimSuffix(path, "/$everything")), fhir.Searchable()...)
	case r.URL.Query().Get("patient") != "":
		body = w.bundle(w.number(r.URL.Query().Get("patient")), path)
	default:
		body = `{"resourceType":"Bundle","type":"searchset"}`
	}
	out.Header().Set("Content-Type", "application/fhir+json")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = io.WriteString(out, body)
		return
	}
	out.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed) // a level that there is
	_, _ = io.WriteString(z, body)
	_ = z.Close()
}

// number is the patient's of a reference.
func (w *farEHR) number(ref string) (n int) {
	_, _ = fmt.Sscan(ref[strings.LastIndexByte(ref, '-')+1:], &n)
	return n
}

// plain reads the records of so many patients as a plain client does.
func (w *farEHR) plain(patients int) {
	client := &http.Client{Transport: &http.Transport{DialContext: w.box.DialContext, DisableCompression: true}}
	for n := range patients {
		for _, t := range slices.Sorted(maps.Keys(w.kind(n))) {
			resp, err := client.Get("http://10.9.0.2/fhir/R4/" + t + "?patient=Patient/" + w.patient(n))
			w.must(err)
			_, err = io.Copy(io.Discard, resp.Body)
			w.must(err)
			resp.Body.Close()
		}
	}
}

// bytes is what has gone over the line, both ways.
func (w *farEHR) bytes() float64 {
	text, err := proc.Run(context.Background(), w.box, "cat", "/proc/net/dev")
	w.must(err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "lan:"); ok {
			f := strings.Fields(rest)
			var in, out float64
			_, err := fmt.Sscan(f[0]+" "+f[8], &in, &out)
			w.must(err)
			return in + out
		}
	}
	w.b.Fatal("the line has no counters")
	return 0
}
