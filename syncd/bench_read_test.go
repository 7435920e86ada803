package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/serve"
	"clinicgate/syncd/vault"
)

// Bounds of the benchmark; the environment may ask for less, to try it out.
const (
	benchRounds   = 3
	perPatient    = 200 // resources
	benchPatients = 5000
)

func asked(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// BenchmarkRead measures cached reads over loopback TLS beside nginx, with a trivial
// authorizer and bare, and searches without the EHR among a million resources. It
// writes build/bench/read.json; run it with -benchtime 1x. READ_PATIENTS (5000),
// READ_SECONDS (4) and READ_ROUNDS (3) make it smaller; READ_PARTS=rates leaves the
// million out.
func BenchmarkRead(b *testing.B) {
	lab.Require(b, lab.Program("wrk"), lab.Program("nginx"))
	figures := readRates(b)
	if os.Getenv("READ_PARTS") != "rates" {
		figures = append(figures, amongMany(b, asked("READ_PATIENTS", benchPatients))...)
	}
	writeFigures(b, "read", figures)
}

// body4k is a Patient of 4,164 bytes.
func body4k(id string) string {
	head := fmt.Sprintf(`{"resourceType":"Patient","id":%q,"meta":{"versionId":"1"},"text":{"div":"`, id)
	return head + strings.Repeat("x", 4164-len(head)-3) + `"}}`
}

// readRates drives the three servers by turns.
func readRates(b *testing.B) []figure {
	c := newClinic(b)
	apps := freePort(b)
	site := strings.Replace(readFile(b, c.path("site/site.toml")), "[sync.cache]\n", "[sync.cache]\nfresh = \"1h\"\n", 1)
	c.must(os.WriteFile(c.path("site/site.toml"), fmt.Appendf(nil, "%s[sync.apps]\nlisten = \"127.0.0.1:%s\"\nbase = \"https://gateway.internal:%s\"\n", site, apps, apps), 0o644))
	c.ehr.set("Patient/p1", body4k("p1"))
	c.keys()
	s := c.doctor()
	s.Keys = []string{wire.BoundAddr + "127.0.0.1"}
	c.card(s)
	c.start()
	c.listening()
	ours := "https://127.0.0.1:" + apps + serve.Base + "/Patient/p1"
	if _, h := c.read("Patient/p1", 200); h.Get("ETag") == "" {
		b.Fatal("no answer to keep")
	}
	authed, bare := startNginx(b, c)
	servers := []struct {
		name, url string
		header    func() string
	}{
		{"ours", ours, func() string { return "Authorization: Bearer " + c.addrToken(s) }},
		{"authed", authed, func() string { return "Authorization: Bearer x" }},
		{"bare", bare, func() string { return "X-None: x" }},
	}
	type cell struct{ rps, p99 []float64 }
	got := map[string]*cell{}
	rounds := asked("READ_ROUNDS", benchRounds)
	for range rounds {
		for _, conns := range []int{1, 8, 64} {
			for _, srv := range servers {
				rps, p99 := wrk(b, srv.url, srv.header(), conns)
				key := fmt.Sprint(srv.name, conns)
				if got[key] == nil {
					got[key] = &cell{}
				}
				got[key].rps, got[key].p99 = append(got[key].rps, rps), append(got[key].p99, p99)
			}
		}
	}
	rps := func(name string, conns int) float64 { return middle(got[fmt.Sprint(name, conns)].rps) }
	p99 := func(name string, conns int) float64 { return middle(got[fmt.Sprint(name, conns)].p99) }
	var figures []figure
	for _, conns := range []int{1, 8, 64} {
		figures = append(figures,
			beside(fmt.Sprintf("read.rps_%d", conns), rps("ours", conns), "/s", "nginx proxy_cache with auth_request", rps("authed", conns), rounds),
			beside(fmt.Sprintf("read.bare_rps_%d", conns), rps("ours", conns), "/s", "nginx proxy_cache", rps("bare", conns), rounds),
			beside(fmt.Sprintf("read.p99_ms_%d", conns), p99("ours", conns), "ms", "nginx proxy_cache with auth_request", p99("authed", conns), rounds))
	}
	return append(figures, figure{Metric: "read.small_rss_mb", Value: float64(rss(b, c.proc.Process.Pid)) / 1024, Unit: "MiB", N: 1})
}

// addrToken is a token bound to this computer's address, for a client that has no
// certificate.
func (c *clinic) addrToken(s wire.Session) string {
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": grant.Issuer("T-1"), "aud": grant.Audience, "sub": s.Subject, "sid": s.ID, "role": s.Role, "scope": "user/*.cruds",
		"room": s.Room, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "cnf": map[string]any{"addr": "127.0.0.1"},
	})
	tok.Header["typ"], tok.Header["kid"] = "at+jwt", "k"
	text, err := tok.SignedString(c.key)
	c.must(err)
	return text
}

// startNginx starts nginx over TLS with the clinic's key: a cache in front of a
// server that has the same Patient, once behind an authorizer that says yes.
func startNginx(b *testing.B, c *clinic) (authed, bare string) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", fhir.MediaType)
		w.Header().Set("Cache-Control", "max-age=3600")
		io.WriteString(w, body4k("p1"))
	}))
	yes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	b.Cleanup(origin.Close)
	b.Cleanup(yes.Close)
	port := freePort(b)
	dir := b.TempDir()
	c.must(os.Chmod(dir, 0o777))
	host := func(url string) string { return strings.TrimPrefix(url, "http://") }
	c.must(os.WriteFile(filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, `
daemon off; master_process on; worker_processes auto; pid %[1]s/pid; error_log stderr error; user root;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000;
  client_body_temp_path %[1]s/t; proxy_temp_path %[1]s/t; fastcgi_temp_path %[1]s/t; uwsgi_temp_path %[1]s/t; scgi_temp_path %[1]s/t;
  proxy_cache_path %[1]s/c keys_zone=z:10m;
  upstream origin { server %[2]s; keepalive 64; }
  upstream yes { server %[3]s; keepalive 64; }
  server {
    listen 127.0.0.1:%[4]s ssl;
    ssl_certificate %[5]s/tls.crt; ssl_certificate_key %[5]s/tls.key; ssl_protocols TLSv1.3;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_cache z; proxy_cache_valid 200 1h;
    location /bare/ { proxy_pass http://origin; }
    location /authed/ { auth_request /yes; proxy_pass http://origin; }
    location = /yes { internal; proxy_cache off; proxy_pass http://yes; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header Connection ""; }
  }
}`, dir, host(origin.URL), host(yes.URL), port, c.path("secrets")), 0o644))
	cmd := exec.Command("nginx", "-c", filepath.Join(dir, "nginx.conf"), "-p", dir)
	cmd.Stderr = os.Stderr
	c.must(cmd.Start())
	b.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	c.wait("nginx", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "https://127.0.0.1:" + port + "/authed/p1", "https://127.0.0.1:" + port + "/bare/p1"
}

var (
	wrkRate = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkP99  = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
	wrkBad  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)`)
)

// wrk drives a server and returns requests a second and the 99th percentile in ms.
func wrk(b *testing.B, url, header string, conns int) (rps, p99 float64) {
	b.Helper()
	out, err := exec.Command("wrk", "-t", strconv.Itoa(min(conns, 2)), "-c", strconv.Itoa(conns),
		"-d", fmt.Sprint(asked("READ_SECONDS", 4), "s"), "--latency", "-H", header, url).CombinedOutput()
	rate, tail := wrkRate.FindSubmatch(out), wrkP99.FindSubmatch(out)
	if err != nil || rate == nil || tail == nil || wrkBad.Match(out) {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	rps, _ = strconv.ParseFloat(string(rate[1]), 64)
	p99, _ = strconv.ParseFloat(string(tail[1]), 64)
	return rps, p99 * map[string]float64{"us": 0.001, "ms": 1, "s": 1000}[string(tail[2])]
}

// amongMany measures a daemon that keeps so many patients' resources and can't reach
// the EHR.
func amongMany(b *testing.B, patients int) []figure {
	c := newClinic(b)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(strings.Replace(readFile(b, c.path("site/site.toml")), "size_mb = 64", "size_mb = 8192", 1)), 0o644))
	c.keys()
	filled := time.Now()
	fill(b, c, patients)
	c.card(c.doctor())
	c.uplink("")
	begin := time.Now()
	c.start()
	c.listening()
	figures := []figure{
		{Metric: "read.filled_per_s", Value: float64(patients*perPatient) / time.Since(filled).Seconds(), Unit: "/s", N: 1},
		{Metric: "read.open_s", Value: time.Since(begin).Seconds(), Unit: "s", N: 1},
	}
	token := c.token()
	measure := func(metric string, n int, path func(i int) string) {
		var all []float64
		for i := range n {
			if i%200 == 0 {
				token = c.token()
			}
			from := time.Now()
			status, text, _ := c.ask(token, path(i*7919%patients))
			if status != 200 {
				b.Fatalf("%s: %d %.300s", path(i), status, text)
			}
			all = append(all, float64(time.Since(from).Microseconds())/1000)
		}
		slices.Sort(all)
		figures = append(figures, figure{Metric: metric, Value: all[len(all)/2], Unit: "ms", N: n},
			figure{Metric: metric + "_p99", Value: all[len(all)*99/100], Unit: "ms", N: n})
	}
	measure("read.one_of_many_ms", 1000, func(i int) string { return fmt.Sprintf("Observation/o%d-%d", i, i%(perPatient-1)+1) })
	measure("read.search_ms", 500, func(i int) string {
		return fmt.Sprintf("Observation?patient=p%d&code=http://loinc.org|%d&date=ge2024&_sort=-date&_count=20", i, i%10)
	})
	measure("read.search_number_ms", 500, func(i int) string { return fmt.Sprintf("Patient?identifier=urn:n|%d", 100000+i) })
	measure("read.search_name_ms", 100, func(i int) string { return fmt.Sprintf("Patient?name=%s&birthdate=ge1900&_count=20", family(i)) })
	kib := rss(b, c.proc.Process.Pid)
	return append(figures, beside("read.rss_mb", float64(kib)/1024, "MiB", "the bound, with "+strconv.Itoa(patients*perPatient)+" resources", 256, 1))
}

// family makes names of which a few patients share each.
func family(i int) string {
	s := []byte("aaaaaa")
	for j, n := 0, i/4*2654435761%308915776; j < len(s); j, n = j+1, n/26 {
		s[j] = byte('a' + n%26)
	}
	return string(s)
}

// fill writes patients, and what is filed under them, as reading them would have.
func fill(b *testing.B, c *clinic, patients int) {
	b.Helper()
	v, err := vault.Open(c.path("secrets"))
	c.must(err)
	store, err := cache.Open(cache.Options{
		Dir: c.path("state/cache"), Bytes: 8192 << 20, Domain: v.Domain("ehr-cache"), Base: c.ehr.srv.URL + "/fhir/R4",
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	c.must(err)
	r := &cache.Reader{Cache: store, Source: made{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for i := range patients {
		_, err := r.Read(context.Background(), fhir.Everything{Patient: fhir.Ref{Type: "Patient", ID: fmt.Sprint("p", i)}})
		c.must(err)
	}
	if n, _ := store.Stats(); n < patients*perPatient {
		b.Fatalf("%d answers kept of %d resources", n, patients*perPatient)
	}
	c.must(store.Close())
}

// made is an EHR that makes its patients up.
type made struct{}

func (made) Down(time.Time) string { return "" }

func (made) Ask(_ context.Context, q fhir.Query, _ string) (fhir.Answer, bool, error) {
	id := q.(fhir.Everything).Patient.ID
	n, _ := strconv.Atoi(id[1:])
	entries := []json.RawMessage{fhir.NewEntry(fmt.Appendf(nil,
		`{"resourceType":"Patient","id":%q,"meta":{"versionId":"1"},"identifier":[{"system":"urn:n","value":"%d"}],"name":[{"family":%q,"given":["Eva"]}],"birthDate":"%d-%02d-01"}`,
		id, 100000+n, family(n), 1930+n%90, n%12+1), false)}
	for i := 1; i < perPatient; i++ {
		entries = append(entries, fhir.NewEntry(fmt.Appendf(nil,
			`{"resourceType":"Observation","id":"o%d-%d","meta":{"versionId":"1"},"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"%d"}]},"subject":{"reference":"Patient/%s"},"effectiveDateTime":"%d-%02d-%02dT08:00:00Z","note":[{"text":%q}]}`,
			n, i, i%10, id, 2015+i%12, i%12+1, i%28+1, strings.Repeat("x", 1100)), false))
	}
	return fhir.Answer{Body: fhir.Join(entries), At: time.Now(), Policy: fhir.Policy{MaxAge: -1}}, true, nil
}
