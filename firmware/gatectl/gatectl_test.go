package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"clinicgate/firmware/daemon"
)

// The scripts run gatectl beside stand-ins for the daemons: processes of the right
// names that publish golden wire files, judge site files and answer as init does.
func TestMain(m *testing.M) {
	commands := map[string]func(){
		"gatectl": main,
	}
	for _, name := range []string{"init", "netd", "failoverd", "cardauth", "syncd", "update", "panel"} {
		commands[name] = func() { os.Exit(standIn(name, os.Args[1:])) }
	}
	testscript.Main(m, commands)
}

func TestScripts(t *testing.T) {
	golden, err := filepath.Abs("../wire/testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GOLDEN", golden)
			env.Setenv("RUN", filepath.Join(env.WorkDir, "run"))
			if err := supportKeys(env.WorkDir); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(env.WorkDir, "run"), 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": waitFor,
		},
	})
}

// supportKeys puts two private keys into a script's folder, and the public half of
// the first into its site file keyed.toml, if it has one.
func supportKeys(dir string) error {
	site, err := os.ReadFile(filepath.Join(dir, "keyed.toml"))
	if err != nil {
		return nil
	}
	for _, name := range []string{"other.txt", "key.txt"} {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("[site]\nname = \"Lab\"\ncode = \"lab\"\nsupport = %q\n%s", id.Recipient(), site)
		if err := errors.Join(os.WriteFile(filepath.Join(dir, name), []byte(id.String()), 0o600), os.WriteFile(filepath.Join(dir, "keyed.toml"), []byte(text), 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// waitFor waits until files exist: `waitfor FILE...`.
func waitFor(ts *testscript.TestScript, neg bool, files []string) {
	for _, f := range files {
		end := time.Now().Add(10 * time.Second)
		for _, err := os.Stat(ts.MkAbs(f)); err != nil; _, err = os.Stat(ts.MkAbs(f)) {
			if time.Now().After(end) {
				ts.Fatalf("%s never came", f)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// standIn is `NAME -check FILE` and `NAME publish RUN GOLDEN`.
func standIn(name string, args []string) int {
	if args[0] == "-check" {
		text, err := os.ReadFile(args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if strings.Contains(string(text), "bad = \""+name+"\"") {
			fmt.Fprintf(os.Stderr, "site.toml:9: %s.bad: got a bad key, want a good one\n", name)
			return 1
		}
		return 0
	}
	runDir, golden := args[1], args[2]
	file, err := os.ReadFile(filepath.Join(golden, name+".json"))
	if err == nil && name == "init" {
		err = serveInit(runDir)
	}
	if err == nil && name == "failoverd" {
		err = serveFailoverd(runDir)
	}
	if err == nil && name == "netd" {
		err = serveNetd(runDir)
	}
	if err == nil && name == "syncd" {
		err = serveSyncd(runDir)
	}
	if err == nil {
		now := time.Now().UTC().Format(time.RFC3339)
		text := strings.NewReplacer(`"pid": 140`, fmt.Sprintf(`"pid": %d`, os.Getpid()), "2026-11-22T08:30:00Z", now).Replace(string(file))
		tmp := filepath.Join(runDir, "."+name)
		if err = os.WriteFile(tmp, []byte(text), 0o644); err == nil {
			err = os.Rename(tmp, filepath.Join(runDir, name+".json"))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return 0
}

// serveSyncd holds one upload until it is released, and finds a hole then.
func serveSyncd(runDir string) error {
	l, err := net.Listen("unix", filepath.Join(runDir, "syncd.sock"))
	if err != nil {
		return err
	}
	const held = `{"id":"eac3a17f926a171dc238be7188985905","kind":"scp-ecg","origin":"monitor1","why":"patient: no-such-patient"}`
	mux, there := http.NewServeMux(), true
	mux.HandleFunc("GET /queue/held", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"v":1,"items":[%s]}`, map[bool]string{true: held}[there])
	})
	mux.HandleFunc("POST /queue/{id}/release", func(w http.ResponseWriter, r *http.Request) {
		if !there || r.URL.Query().Get("by") != "anna" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"no upload of that number is held"}`)
			return
		}
		there = false
		fmt.Fprint(w, `{"v":1,"id":"eac3a17f926a171dc238be7188985905"}`)
	})
	mux.HandleFunc("GET /audit", func(w http.ResponseWriter, _ *http.Request) {
		reason := map[bool]string{true: `,"reason":"cut","since":"2026-11-22T09:00:00Z","oldest":"2026-11-22T08:00:00Z"`}[there]
		fmt.Fprintf(w, `{"v":1,"audit":{"to":"ehr","records":7,"delivered":5%s}}`, reason)
	})
	mux.HandleFunc("GET /ehr/login", func(w http.ResponseWriter, _ *http.Request) {
		until := map[bool]string{false: `"until":"2026-11-22T09:00:00Z",`}[there]
		fmt.Fprintf(w, `{"v":1,"ehr":"https://ehr.example/R4","client_id":"box-1",%s"reason":"no\u001b[1m","jwks":{"keys":[{"kty":"EC","kid":"k1"}]}}`, until)
	})
	const one = `"case":"5f0c926a171dc238be71889859050000","state":"answered","urgent":true,"changed":"2026-11-22T09:00:00Z","replies":1`
	mux.HandleFunc("GET /consults", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"v":1,"items":[{%s}]}`, one) })
	mux.HandleFunc("GET /consults/5f0c", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"v":1,%s,"request":"ServiceRequest/a","sent":["ServiceRequest/a"],"back":[{"resource":"Communication/x","at":"2026-11-22T09:00:00Z"}]}`, one)
	})
	mux.HandleFunc("GET /edits", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"v":1,"items":[{"id":"0c51aa00-0000","state":"waiting","when":"2026-11-22T09:00:00Z","by":"Practitioner/1","types":["Observation","Condition"]}]}`)
	})
	mux.HandleFunc("GET /edits/clashes", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"v":1,"items":[{"id":"9f86d081-0000","state":"clashed","when":"2026-11-22T09:00:00Z","by":"Practitioner/1","types":["Observation"],"tries":1,"status":412,"task":"Task/7"}]}`)
	})
	keys := func(why, domain string) string {
		return fmt.Sprintf(`{"v":1,"by":"tpm","wrap":"9f86d081","trustee":"https://10.99.0.1:8460","asked":"2026-11-22T09:00:00Z"%s,"domains":[
			{"name":"T-1/uploads","use":2,"own":true,"may":"write","until":"2026-12-22T09:00:00Z"},
			{"name":"T-2/consults","use":1,"own":false,"may":"read","until":"2026-12-22T09:00:00Z"%s},{"name":"devices","use":0,"own":true,"may":"write"}]}`, why, domain)
	}
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, keys(`,"why":"no way"`, `,"why":"taken\u001bback"`))
	})
	mux.HandleFunc("POST /keys/refresh", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keys("", "")) })
	mux.HandleFunc("POST /queue/verify", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"v":1,"invariant":"all is here","items":{"held":1},"segments":2,"problems":[%s]}`, map[bool]string{false: `"segment 2: a hole"`}[there])
	})
	go daemon.ServeHTTP(context.Background(), l, &http.Server{Handler: mux})
	return nil
}

// serveFailoverd hands over once, and refuses then.
func serveFailoverd(runDir string) error {
	l, err := net.Listen("unix", filepath.Join(runDir, "failoverd.sock"))
	if err != nil {
		return err
	}
	mux, done := http.NewServeMux(), false
	mux.HandleFunc("POST /handover", func(w http.ResponseWriter, r *http.Request) {
		if done {
			http.Error(w, "not handed over: this box has no addresses to hand over", http.StatusConflict)
			return
		}
		done = true
		fmt.Fprintf(w, `{"v":1,"to":"10.77.0.2","ms":17,"hold":%v}`, r.URL.Query().Get("hold") == "1")
	})
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, _ *http.Request) { done = false })
	go daemon.ServeHTTP(context.Background(), l, &http.Server{Handler: mux})
	return nil
}

// serveInit answers as firmware/init does.
func serveInit(runDir string) error {
	l, err := net.Listen("unix", filepath.Join(runDir, "init.sock"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /attest", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("nonce") == "00" {
			http.Error(w, `nonce: got "00", want 32 hex digits`, http.StatusBadRequest)
			return
		}
		w.Write(evidence)
	})
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("service") == "nosuch" {
			http.Error(w, "no service nosuch", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"time":"2026-11-22T08:30:00.123456789Z","level":"WARN","msg":"fault","program":"netd","id":"uplink.no-link","what":"no carrier","asked":%q}`+"\n", q.Get("service")+" "+q.Get("lines"))
		fmt.Fprint(w, `{"msg":"a server said: no such patient GARCIA LOPEZ^MARIA at Patient/642341"}`+"\n")
		fmt.Fprint(w, "[    0.5] kernel: \x1b[31mplain\x1b[0m line\n")
	})
	trial := ""
	mux.HandleFunc("POST /site/{step}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch step := r.PathValue("step"); {
		case step == "apply" && trial != "":
			http.Error(w, "another site file is on trial, until 12:05:00 UTC", http.StatusConflict)
			return
		case step == "apply":
			trial = string(body)
		case trial == "":
			http.Error(w, "no site file is on trial", http.StatusConflict)
			return
		default:
			trial = ""
		}
		fmt.Fprintf(w, `{"since":"2026-11-22T12:00:00Z","until":"2026-11-22T12:0%s:00Z","by":"console","sha256":"5f0c926a171dc238","was":"aa"}`, or(r.URL.Query().Get("minutes"), "5"))
	})
	mux.HandleFunc("GET /site", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"trial":null,"history":[{"at":"2026-11-22T12:00:00Z","did":"returned","by":"init","sha256":"5f0c926a171dc238","why":"nobody confirmed it in time"}]}`)
	})
	mux.HandleFunc("GET /site/before", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "[site]\nname = \"Before\"\ncode = \"lab\"\n")
	})
	mux.HandleFunc("GET /reset", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"undelivered":3,"phrase":"destroy 3 uploads","ordered":null}`)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("phrase") != "destroy 3 uploads" {
			http.Error(w, `3 uploads are undelivered and would be lost; want the phrase "destroy 3 uploads"`, http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		os.WriteFile(filepath.Join(runDir, "reset"), nil, 0o644)
	})
	mux.HandleFunc("GET /kernel", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "[    0.5] the kernel speaks\n") })
	mux.HandleFunc("POST /poweroff", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		os.WriteFile(filepath.Join(runDir, "poweroff"), nil, 0o644)
	})
	mux.HandleFunc("POST /reboot", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "user 206 may not", http.StatusForbidden)
	})
	go daemon.ServeHTTP(context.Background(), l, &http.Server{Handler: mux})
	return nil
}
