package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/lamp"
	"clinicgate/firmware/plainhttp"
	"clinicgate/firmware/supervise"
)

const text = "text/plain; charset=utf-8"

// control serves RUN/init.sock:
//
//	GET  /state                            init.json
//	GET  /log?service=NAME&lines=N&follow=1  JSON lines
//	GET  /attest?nonce=HEX                 what runs here, in the TPM's words
//	GET  /kernel                           the kernel's log; root and the console only
//	GET  /reset, POST /reset?phrase=WORDS  a factory reset; root and the console only
//	POST /restart?service=NAME             } root and the console only
//	POST /poweroff, POST /reboot           }
//	POST /lamp?says=STATE                  } what the light at the front is to say
//	GET  /site, GET /site/before           a site file on trial, what was done; the one before
//	POST /site/apply?minutes=N             } root and the console only; the body is the file
//	POST /site/confirm, POST /site/return  }
//	POST /slot/arm?version=V&sha256=S&tunnel=1  } root and the update only
//	POST /slot/commit                           }
//	POST /slot/fail?why=WORDS&blame=1           }
func (b *box) control(ctx context.Context, sup *supervise.Supervisor, endings chan<- ending) error {
	path := filepath.Join(runDir, "init.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return err
	}
	return plainhttp.Serve(ctx, l, func(ctx context.Context, req plainhttp.Request, answer plainhttp.Answer) {
		switch req.Method + " " + req.Path {
		case "GET /state":
			b.answerState(answer)
		case "GET /log":
			b.answerLog(ctx, req, answer)
		case "GET /attest":
			b.answerAttest(req, answer)
		case "GET /site", "GET /site/before":
			b.answerSiteState(req, answer)
		case "POST /poweroff", "POST /reboot", "POST /restart", "POST /site/apply", "POST /site/confirm", "POST /site/return", "GET /kernel", "GET /reset", "POST /reset":
			if req.UID != 0 && req.UID != uidConsole {
				fmt.Fprintf(answer(403, text), "%s: user %d may not; the console may\n", req.Path, req.UID)
				return
			}
			if strings.HasPrefix(req.Path, "/site/") {
				b.answerSite(req, answer)
				return
			}
			if req.Path == "/reset" {
				b.answerReset(req, answer, endings)
				return
			}
			if req.Path == "/kernel" {
				b.answerKernel(answer)
				return
			}
			b.answerCommand(req, answer, sup, endings)
		case "POST /lamp":
			if req.UID != 0 && req.UID != uidConsole {
				fmt.Fprintf(answer(403, text), "%s: user %d may not; the console may\n", req.Path, req.UID)
				return
			}
			if err := b.front.answerLamp(req.Query.Get("says"), time.Now()); err != nil {
				fmt.Fprintln(answer(400, text), err)
				return
			}
			fmt.Fprintln(answer(202, text), "lamp")
		case "POST /slot/arm", "POST /slot/commit", "POST /slot/fail":
			if req.UID != 0 && req.UID != uidUpdate {
				fmt.Fprintf(answer(403, text), "%s: user %d may not; the update may\n", req.Path, req.UID)
				return
			}
			b.answerSlot(req, answer, endings)
		default:
			fmt.Fprintf(answer(404, text), "%s %s: want GET /state, GET /log, GET /site, POST /site/apply, POST /restart, POST /poweroff or POST /reboot\n", req.Method, req.Path)
		}
	})
}

func (b *box) answerCommand(req plainhttp.Request, answer plainhttp.Answer, sup *supervise.Supervisor, endings chan<- ending) {
	if req.Path == "/restart" {
		name := req.Query.Get("service")
		sup.Restart(name, "asked for on the control socket")
		fmt.Fprintf(answer(202, text), "restarting %s\n", name)
		return
	}
	how := ending(req.Path[1:])
	select {
	case endings <- how:
		fmt.Fprintf(answer(202, text), "%s\n", how)
	default:
		fmt.Fprintln(answer(409, text), "the box is ending already")
	}
}

// answerSlot does one step of an update. arm and fail end in a restart: a trial
// begins from cold.
func (b *box) answerSlot(req plainhttp.Request, answer plainhttp.Answer, endings chan<- ending) {
	var err error
	q := req.Query
	switch req.Path {
	case "/slot/arm":
		err = b.slots.arm(q.Get("version"), q.Get("sha256"), q.Get("tunnel") == "1", time.Now())
	case "/slot/commit":
		err = b.slots.commit()
	case "/slot/fail":
		err = b.slots.fail(q.Get("why"), q.Get("blame") == "1", time.Now())
	}
	if err != nil {
		fmt.Fprintf(answer(409, text), "%s: %v\n", req.Path, err)
		return
	}
	say("%s", map[string]string{
		"/slot/arm":    "release " + q.Get("version") + " is started on trial",
		"/slot/commit": "slot " + b.cmd.slot + " is kept: its release proved itself",
		"/slot/fail":   "the release on trial " + plain(q.Get("why")),
	}[req.Path])
	if req.Path != "/slot/commit" {
		b.front.know(func(o *lamp.Own) { o.Updating = true }) // until it restarts
	} else {
		b.front.know(func(o *lamp.Own) { o.Trial = false })
	}
	b.log.Info("slots", "done", req.Path, "version", q.Get("version"), "why", plain(q.Get("why")))
	if req.Path != "/slot/commit" {
		select {
		case endings <- reboot:
		default: // it is ending already
		}
	}
	fmt.Fprintln(answer(202, text), req.Path)
}

func (b *box) answerKernel(answer plainhttp.Answer) {
	said, err := kernelLog("/dev/kmsg")
	if err != nil && len(said) == 0 {
		fmt.Fprintln(answer(500, text), err)
		return
	}
	_, _ = answer(200, text).Write(said) // the client may be gone
}

func (b *box) answerState(answer plainhttp.Answer) {
	b.seen.mu.Lock()
	state := b.seen.now
	b.seen.mu.Unlock()
	enc := json.NewEncoder(answer(200, "application/json"))
	enc.SetIndent("", "  ")
	_ = enc.Encode(&state) // the client may be gone
}

func (b *box) answerLog(ctx context.Context, req plainhttp.Request, answer plainhttp.Answer) {
	service := req.Query.Get("service")
	n := 100
	if s := req.Query.Get("lines"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 0 {
			fmt.Fprintf(answer(400, text), "lines: got %.40q, want a number\n", s)
			return
		}
	}
	follow := req.Query.Get("follow") == "1"
	lines := b.book.Follow(ctx, service) // from before the tail, so that none is missed
	w := answer(200, "application/x-ndjson")
	for _, line := range b.book.Tail(service, n) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return
		}
	}
	if !follow {
		return
	}
	for line := range lines {
		if _, err := fmt.Fprintln(w, line.Text); err != nil {
			return
		}
	}
}
