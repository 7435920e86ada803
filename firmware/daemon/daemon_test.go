package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/site"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

func testEnv(t *testing.T) *Env {
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &Env{Name: "netd", Site: filepath.Join(dir, "site.toml"), Run: dir, Log: log, Faults: NewFaults(log)}
}

func parseName(f *site.File) (string, error) {
	id, err := f.Identity()
	return id.Name, err
}

func putSite(t *testing.T, env *Env, text string) {
	t.Helper()
	if err := durable.WriteFile(env.Site, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The life of a site file: none, a wrong one, a good one, a wrong one again (the
// good one stays), another good one (the daemon ends to start afresh).
func TestSiteFileLife(t *testing.T) {
	env := testEnv(t)
	started := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- serve(t.Context(), env, parseName, func(ctx context.Context, _ *Env, name string) error {
			started <- name
			<-ctx.Done()
			return nil
		})
	}()
	waitFault(t, env, "no such file")
	putSite(t, env, "[site]\nname = 7\n")
	waitFault(t, env, "site.toml:2")
	putSite(t, env, "[site]\nname = \"one\"\ncode = \"c\"\n")
	if got := <-started; got != "one" {
		t.Fatalf("started with %q, want one", got)
	}
	putSite(t, env, "[sight]\n")
	waitFor(t, "fault while running", func() bool {
		l := env.Faults.List()
		return len(l) == 1 && strings.Contains(l[0].Do, "last good one stays in force")
	})
	select {
	case err := <-ended:
		t.Fatalf("a wrong file ended the daemon: %v", err)
	default:
	}
	putSite(t, env, "[site]\nname = \"one\"\ncode = \"other\"\n[sync]\nx = 1\n")
	waitFor(t, "the end of the fault", func() bool { return len(env.Faults.List()) == 0 })
	select {
	case err := <-ended:
		t.Fatalf("a file that says the same to this daemon ended it: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	putSite(t, env, "[site]\nname = \"two\"\ncode = \"c\"\n")
	if err := <-ended; err != nil {
		t.Fatalf("restart for a new file: %v", err)
	}
	if l := env.Faults.List(); len(l) != 0 {
		t.Fatalf("faults left: %+v", l)
	}
}

func waitFault(t *testing.T, env *Env, what string) {
	t.Helper()
	waitFor(t, what, func() bool {
		n, err := wirefile.Read[wire.Net](env.Run, wire.NetFile)
		return err == nil && len(n.Faults) == 1 && strings.Contains(n.Faults[0].What, what)
	})
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func TestRunNamesTheTaskThatEnded(t *testing.T) {
	waits := Task{"waits", func(ctx context.Context) error { <-ctx.Done(); return nil }}
	boom := errors.New("boom")
	err := Run(t.Context(), waits, Task{"dies", func(context.Context) error { return boom }})
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "dies: ") {
		t.Fatalf("got %v", err)
	}
	if err := Run(t.Context(), waits, Task{"quits", func(context.Context) error { return nil }}); err == nil {
		t.Fatal("a task that ended by itself went unnoticed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, waits); err != nil {
		t.Fatalf("orderly end: %v", err)
	}
}

func TestFaultsKeepTheirAge(t *testing.T) {
	var out bytes.Buffer
	f := NewFaults(slog.New(slog.NewTextHandler(&out, nil)))
	fault := wire.Fault{ID: "uplink.no-link", Severity: wire.Warning, Where: "port wan1", What: "no carrier"}
	f.Raise(fault)
	since := f.List()[0].Since
	time.Sleep(2 * time.Millisecond)
	f.Raise(fault)
	if got := f.List()[0].Since; got != since {
		t.Fatalf("since moved from %v to %v", since, got)
	}
	if n := strings.Count(out.String(), "msg=fault "); n != 1 {
		t.Fatalf("logged %d times, want once:\n%s", n, out.String())
	}
	f.Keep("uplink.no-link", wire.Fault{Severity: wire.Alarm, Where: "port wan2", What: "no carrier"})
	if l := f.List(); len(l) != 1 || l[0].Where != "port wan2" {
		t.Fatalf("got %+v", l)
	}
	f.Raise(wire.Fault{ID: "x", Severity: wire.Note})
	f.Raise(wire.Fault{ID: "y", Severity: wire.Alarm})
	if l := f.List(); l[len(l)-1].ID != "x" {
		t.Fatalf("a note is not last: %+v", l)
	}
}

func TestPublishOnlyChanges(t *testing.T) {
	env := testEnv(t)
	path := filepath.Join(env.Run, wire.NetFile)
	publish := func(active string) os.FileInfo {
		t.Helper()
		if err := env.Publish(wire.NetFile, &wire.Net{Active: active}); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fi
	}
	first := publish("isp-a")
	if again := publish("isp-a"); !os.SameFile(first, again) {
		t.Error("the same content was written twice")
	}
	if other := publish("isp-b"); os.SameFile(first, other) {
		t.Error("other content was not written")
	}
	if first.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want 0640", first.Mode().Perm())
	}
}

func TestControlAndReady(t *testing.T) {
	env := testEnv(t)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(env.Run, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(env.Run, "notify"))
	env.Ready()
	buf := make([]byte, 64)
	if n, err := notify.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hi") })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- env.Control(mux).Run(ctx) }()
	sock := filepath.Join(env.Run, "netd.sock")
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", sock)
	}}}
	waitFor(t, "answer on the control socket", func() bool {
		resp, err := client.Get("http://netd/hello")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body) == "hi"
	})
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFlags(t *testing.T) {
	var out bytes.Buffer
	env, _, _ := flags("netd", []string{"-run", "/x"}, &out)
	if env == nil || env.Run != "/x" || env.State != "/data/netd" || env.Secrets != "/data/secrets/netd" {
		t.Fatalf("got %+v", env)
	}
	for _, args := range [][]string{{"-nope"}, {"stray"}} {
		if env, _, code := flags("netd", args, &out); env != nil || code != exitUsage {
			t.Errorf("%v: env %v, code %d", args, env, code)
		}
	}
}

func TestTimeInWords(t *testing.T) {
	if a := inWords(nil, slog.Duration("lasted", 90*time.Second)); a.Value.String() != "1m30s" {
		t.Errorf("got %s", a.Value)
	}
	if a := inWords(nil, slog.Int("count", 7)); a.Value.Any() != int64(7) {
		t.Errorf("got %v", a.Value)
	}
}
