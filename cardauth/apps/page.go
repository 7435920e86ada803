package apps

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

//go:embed style.css
var styleText []byte

//go:embed dpop.js
var scriptText []byte

// A page is the login page, or with Failed a message instead.
type page struct {
	Flow, App, Number, Room, Trouble, Failed string
	Places                                   []Place
	Known                                    bool // this browser began a session that lives
	Last                                     bool // the card's last try must be confirmed

	to string // where the program wants to be answered
}

// show writes the page. It runs no script, is shown in no frame, and its form goes
// here or, with the answer, to the program.
func (s *Server) show(w http.ResponseWriter, code int, p page) {
	var out strings.Builder
	t, err := template.New("page").Parse(pageText)
	if err == nil {
		err = t.Execute(&out, p)
	}
	if err != nil {
		s.Log.Error("login page", "err", err)
		http.Error(w, "the page can't be shown", http.StatusInternalServerError)
		return
	}
	form := "'self'"
	if u, err := url.Parse(p.to); err == nil && u.Host != "" {
		form += " " + u.Scheme + "://" + u.Host
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action "+form+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin") // without any a form's Origin would be null
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(out.String())) // a browser that left needs no page
}

func (s *Server) failed(w http.ResponseWriter, code int, why string) {
	s.show(w, code, page{Failed: why})
}

// asset serves a file of ours; dpop.js is for pages of programs, ours runs none.
func asset(kind string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write(body) // a browser that left needs none
	}
}

// A form is what the page sends.
type form struct {
	flow, act, room string
	pin             []byte // whoever has it wipes it
	last            bool
}

// readForm reads the body into a buffer of ours, which is wiped, and takes the PIN
// out of it as bytes: url.ParseQuery would leave it in strings, which can't be.
func readForm(w http.ResponseWriter, r *http.Request) (form, error) {
	deadline := http.NewResponseController(w).SetReadDeadline
	_ = deadline(time.Now().Add(bodyTime)) // only a writer of a test can't
	defer func() { _ = deadline(time.Time{}) }()
	buf := make([]byte, maxForm+1)
	defer clear(buf)
	n, err := io.ReadFull(r.Body, buf)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return form{}, errors.New("body too long, or not in time")
	}
	return parseForm(buf[:n]), nil
}

func parseForm(body []byte) (f form) {
	for pair := range bytes.SplitSeq(body, []byte("&")) {
		name, value, _ := bytes.Cut(pair, []byte("="))
		switch string(name) {
		case "pin": // digits need no unescaping; anything else is no PIN
			clear(f.pin)
			f.pin = bytes.Clone(value)
		case "flow":
			f.flow = string(value)
		case "act":
			f.act = string(value)
		case "last":
			f.last = string(value) == "yes"
		case "room":
			f.room, _ = url.QueryUnescape(string(value)) // none, if it can't be read
		}
	}
	return f
}
