package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/metric"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

const logged = `{"time":"2026-11-22T12:00:00.123456Z","level":"WARN","msg":"fault","program":"netd","id":"uplink.no-link","what":"a \"bad\" cable]","n":3}`

func TestSyslogLine(t *testing.T) {
	for in, want := range map[string]string{
		logged:                                  `<28>1 2026-11-22T12:00:00.123456Z ES-VA-047 netd - - [cg@32473 id="uplink.no-link" n="3" what="a \"bad\" cable\]"] fault`,
		"[    0.5] kernel: \x1b[31m two\nlines": `<30>1 2026-11-22T12:00:00.123456Z ES-VA-047 box - - - [    0.5] kernel:  [31m two lines`,
		`{"msg":"no such patient GARCIA^MARIA","program":"a b\"c"}`: `<30>1 2026-11-22T12:00:00.123456Z ES-VA-047 a_b_c - - - (struck)`,
		"": `<30>1 2026-11-22T12:00:00.123456Z ES-VA-047 box - - - `,
	} {
		if got := string(Parse(in, noon).Syslog("ES-VA-047")); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", in, got, want)
		}
	}
}

func TestOTLP(t *testing.T) {
	text, err := OTLP("ES-VA-047", []Line{Parse(logged, noon), Parse("plain", noon)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"box"}},{"key":"host.name","value":{"stringValue":"ES-VA-047"}}]},` +
		`"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795348800123456000","severityNumber":9,"severityText":"INFO","body":{"stringValue":"plain"}}]}]},` +
		`{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"netd"}},{"key":"host.name","value":{"stringValue":"ES-VA-047"}}]},` +
		`"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795348800123456000","severityNumber":13,"severityText":"WARN","body":{"stringValue":"fault"},` +
		`"attributes":[{"key":"id","value":{"stringValue":"uplink.no-link"}},{"key":"n","value":{"stringValue":"3"}},{"key":"what","value":{"stringValue":"a \"bad\" cable]"}}]}]}]}]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func FuzzLine(f *testing.F) {
	f.Add(logged)
	f.Add("plain")
	f.Fuzz(func(t *testing.T, text string) {
		l := Parse(text, noon)
		if m := l.Syslog("x"); bytes.ContainsAny(m, "\n\r\x00") {
			t.Errorf("%q", m)
		}
		if out, err := OTLP("x", []Line{l}); err != nil || !json.Valid(out) {
			t.Errorf("%s, %v", out, err)
		}
	})
}

// fake is a collector that can be away.
type fake struct {
	mu   sync.Mutex
	away bool
	got  []string
}

func (f *fake) Send(_ context.Context, lines []Line) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return errors.New("away")
	}
	for _, l := range lines {
		f.got = append(f.got, l.Msg)
	}
	return nil
}

// A collector that is away costs the oldest lines, counted, and nothing else.
func TestAway(t *testing.T) {
	to, counts := &fake{away: true}, &metric.Set{}
	f := &Forwarder{Name: "syslog", To: to, Log: slog.New(slog.DiscardHandler), Counts: counts}
	for i := range maxWaiting + 7 {
		f.Add(Line{Msg: fmt.Sprint(i)})
	}
	if err := f.flush(t.Context()); err == nil || len(f.waiting) != maxWaiting {
		t.Fatalf("%v, %d wait", err, len(f.waiting))
	}
	to.away = false
	if err := f.flush(t.Context()); err != nil || len(f.waiting) != 0 {
		t.Fatalf("%v, %d wait", err, len(f.waiting))
	}
	if len(to.got) != maxWaiting || to.got[0] != "7" || to.got[maxWaiting-1] != fmt.Sprint(maxWaiting+6) {
		t.Errorf("%d lines from %s to %s", len(to.got), to.got[0], to.got[len(to.got)-1])
	}
	var text bytes.Buffer
	if err := counts.Write(&text); err != nil || !strings.Contains(text.String(), `panel_export_lost_lines_total{to="syslog"} 7`) {
		t.Errorf("%v: %s", err, &text)
	}
}

func TestOTLPHTTP(t *testing.T) {
	got := make(chan otlpExport, 1)
	var code atomic.Int64
	code.Store(http.StatusOK)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e otlpExport
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil || r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", r.URL, err)
		}
		w.WriteHeader(int(code.Load()))
		got <- e
	}))
	defer srv.Close()
	u, err := url.Parse(srv.URL + "/v1/logs")
	if err != nil {
		t.Fatal(err)
	}
	o := OTLPHTTP{URL: u, Host: "box", Client: srv.Client()}
	if err := o.Send(t.Context(), []Line{Parse(logged, noon)}); err != nil {
		t.Fatal(err)
	}
	if e := <-got; len(e.Logs) != 1 || e.Logs[0].Scopes[0].Records[0].Text != "WARN" {
		t.Errorf("%+v", e)
	}
	code.Store(http.StatusServiceUnavailable)
	if err := o.Send(t.Context(), []Line{Parse(logged, noon)}); err == nil {
		t.Error("a refusal is a success")
	}
}

// TestRsyslog has a real rsyslogd take lines both ways and say what it understood.
func TestRsyslog(t *testing.T) {
	lab.Require(t, lab.Program("rsyslogd"))
	dir := t.TempDir()
	port := freePort(t)
	out := filepath.Join(dir, "out")
	conf := fmt.Sprintf(`global(workDirectory=%q)
module(load="imudp") module(load="imtcp")
input(type="imudp" address="127.0.0.1" port="%[2]s") input(type="imtcp" address="127.0.0.1" port="%[2]s")
template(name="t" type="string" string="%%syslogseverity-text%%|%%hostname%%|%%app-name%%|%%structured-data%%|%%msg%%\n")
*.* action(type="omfile" file=%[3]q template="t")
`, dir, port, out)
	file := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "rsyslogd", "-n", "-f", file, "-i", filepath.Join(dir, "pid"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	want := `warning|ES-VA-047|netd|[cg@32473 id="uplink.no-link" n="3" what="a \"bad\" cable\]"]|`
	for _, network := range []string{"tcp", "udp"} {
		s := Syslog{Network: network, Address: "127.0.0.1:" + port, Host: "ES-VA-047"}
		within(t, network+" understood", func() bool {
			text, _ := os.ReadFile(out)
			if strings.Count(string(text), want) >= 2 {
				return true
			}
			_ = s.Send(t.Context(), []Line{Parse(logged, noon), Parse(logged, noon)}) // until it listens
			return false
		}, func() string {
			text, _ := os.ReadFile(out)
			return said.String() + string(text)
		})
		if err := os.Truncate(out, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// box is a run directory with programs that give metrics.
func box(t *testing.T, texts map[string]string) collect.Source {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })}
		go srv.Serve(l)
		t.Cleanup(func() { srv.Close() })
	}
	return collect.Source{Run: dir, Site: filepath.Join(dir, "site.toml")}
}

// A program speaks for itself alone, and nonsense of one spoils nothing.
func TestGather(t *testing.T) {
	source := box(t, map[string]string{
		"netd":  "# HELP netd_faults Faults.\n# TYPE netd_faults gauge\nnetd_faults 2\nsyncd_faults 9\nnetd_bad\nnetd_x{a=\"b\"} NaN\n\n",
		"syncd": strings.Repeat("y", maxText+10),
	})
	var out bytes.Buffer
	if err := Gather(t.Context(), source, noon, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n# TYPE netd_faults gauge\nnetd_faults 2\nnetd_x{a=\"b\"} NaN\n", `clinicgate_metrics_answered{program="netd"} 1`,
		`clinicgate_metrics_answered{program="cardauth"} 0`, "clinicgate_verdict 2", `clinicgate_program_up{program="syncd"} 0`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("without %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "syncd_faults") || strings.Contains(out.String(), "netd_bad") || strings.Contains(out.String(), "yyy") {
		t.Errorf("with what is nobody's:\n%s", &out)
	}
}

func TestOnlyWhoMay(t *testing.T) {
	h := Handler{Source: box(t, nil), From: func(remote string) bool { return strings.HasPrefix(remote, "10.99.") }}
	for _, c := range []struct {
		from, method, path string
		want               int
	}{
		{"10.99.0.1:4", "GET", "/metrics", 200}, {"10.20.0.50:4", "GET", "/metrics", 403},
		{"10.99.0.1:4", "GET", "/", 404}, {"10.99.0.1:4", "POST", "/metrics", 404},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.RemoteAddr = c.from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}

// TestPrometheus has a real Prometheus scrape a box and answer what it found.
func TestPrometheus(t *testing.T) {
	lab.Require(t, lab.Program("prometheus"))
	source := box(t, map[string]string{"netd": "# TYPE netd_faults gauge\nnetd_faults 2\n"})
	srv := httptest.NewServer(Handler{Source: source, From: func(string) bool { return true }})
	defer srv.Close()
	dir, port := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "prometheus.yml")
	conf := fmt.Sprintf("scrape_configs: [{job_name: box, scrape_interval: 1s, static_configs: [{targets: [%q]}]}]\n", strings.TrimPrefix(srv.URL, "http://"))
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file="+file, "--storage.tsdb.path="+dir, "--web.listen-address=127.0.0.1:"+port)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	last := ""
	within(t, "scraped", func() bool {
		resp, err := http.Get("http://127.0.0.1:" + port + "/api/v1/query?query=netd_faults+and+on()+(clinicgate_verdict+==+2)")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		last = string(text)
		return strings.Contains(last, `"__name__":"netd_faults"`)
	}, func() string { return last })
}

// TestDashboard: each metric that the dashboard or an alert names is one that some
// program of the box has, and Prometheus understands the alerts.
func TestDashboard(t *testing.T) {
	has := map[string]bool{}
	declared := regexp.MustCompile(`"((?:netd|failoverd|cardauth|syncd|update|panel|clinicgate)_[a-z_]+)"`)
	for _, dir := range []string{"../../netd", "../../failoverd", "../../cardauth", "../../syncd", "../update", "../panel", "."} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil || strings.HasSuffix(f, "_test.go") {
				continue
			}
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				has[m[1]] = true
			}
		}
	}
	named := regexp.MustCompile(`\b(?:netd|failoverd|cardauth|syncd|update|panel|clinicgate)_[a-z_]+`)
	for _, file := range []string{"dashboard.json", "alerts.yml"} {
		text, err := os.ReadFile(filepath.Join("../../docs/ops", file))
		if err != nil {
			t.Fatal(err)
		}
		all := named.FindAllString(string(text), -1)
		if len(all) < 8 {
			t.Errorf("%s names %d metrics", file, len(all))
		}
		for _, name := range all {
			if !has[name] {
				t.Errorf("%s: no program has %s", file, name)
			}
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", file)
		}
	}
	lab.Require(t, lab.Program("promtool"))
	if out, err := exec.Command("promtool", "check", "rules", "../../docs/ops/alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// within waits for a condition, generously.
func within(t *testing.T, what string, ok func() bool, said func() string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never\n%s", what, said())
		}
	}
}
