// Package serve is the clinic's page on the LAN. Its one guarantee: whoever asks
// sees how the box is and can change nothing, runs no script but ours, and takes no
// more than a computer's share.
package serve

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/firmware/panel/phrase"
	"clinicgate/firmware/panel/view"
)

// Handler is the page. Look, Log and Pages are required.
type Handler struct {
	Look  func() view.Of // how it is now
	Pages *Pages
	Names []string // the page's host names, beside addresses
	Log   *slog.Logger
	Ended context.Context // event streams end with it
	Asked func(status int)

	Records string // FHIR base that a doctor's browser asks for ECGs; empty: none are shown

	limit limit

	mu    sync.Mutex
	last  view.Of
	parts map[phrase.Lang][]Part // of last
}

// asked is the longest path and query that anything here has.
const longest = 256

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := h.serve(w, r)
	if h.Asked != nil {
		h.Asked(status)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) int {
	guard(w.Header())
	from := who(r.RemoteAddr)
	switch {
	case !h.limit.take(from, time.Now()):
		w.Header().Set("Retry-After", "5")
		return h.refuse(w, r, http.StatusTooManyRequests, "error.slow")
	case !h.ours(r.Host): // a foreign name for our address: another site's script asks (DNS rebinding)
		return h.refuse(w, r, http.StatusMisdirectedRequest, "error.nopage")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return h.refuse(w, r, http.StatusMethodNotAllowed, "error.nopage")
	case len(r.URL.Path)+len(r.URL.RawQuery) > longest:
		return h.refuse(w, r, http.StatusRequestURITooLong, "error.nopage")
	}
	if a, ok := h.Pages.assets[r.URL.Path]; ok {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		return write(w, http.StatusOK, a.kind, a.body)
	}
	switch r.URL.Path {
	case "/":
		return h.page(w, r)
	case "/events":
		return h.events(w, r)
	case "/ecg":
		return h.ecg(w, r)
	}
	return h.refuse(w, r, http.StatusNotFound, "error.nopage")
}

// policy is what the page may do: its own styles, script and pictures, its own
// event stream, and nothing that is written into it.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// guard sets what every answer has.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), usb=(), serial=()")
	h.Set("Cache-Control", "no-store")
}

// ours reports whether a request is for the box: by one of its names, or by an
// address, which no other site can make its own.
func (h *Handler) ours(host string) bool {
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return slices.Contains(h.Names, name)
}

// cookie keeps the chosen language, and nothing else.
const cookie = "lang"

// lang is what the reader chose, or what the browser likes.
func lang(r *http.Request) phrase.Lang {
	if c, err := r.Cookie(cookie); err == nil {
		if l, ok := phrase.Find(c.Value); ok {
			return l
		}
	}
	return phrase.Accepted(r.Header.Get("Accept-Language"))
}

func (h *Handler) page(w http.ResponseWriter, r *http.Request) int {
	if l, ok := phrase.Find(r.URL.Query().Get("lang")); ok {
		http.SetCookie(w, &http.Cookie{
			Name: cookie, Value: string(l), Path: "/", MaxAge: 365 * 24 * 3600,
			HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode,
		})
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return http.StatusSeeOther
	}
	l := lang(r)
	w.Header().Set("Vary", "Accept-Language, Cookie")
	v, parts, err := h.now(l)
	var text string
	if err == nil {
		text, err = h.Pages.Page(v, parts)
	}
	if err != nil {
		h.Log.Error("page", "err", err)
		return h.refuse(w, r, http.StatusInternalServerError, "unknown")
	}
	return write(w, http.StatusOK, "text/html; charset=utf-8", []byte(text))
}

// fresh is how long a look is good for all who ask.
const fresh = 900 * time.Millisecond

// now is the page as it is, looked at once for everybody.
func (h *Handler) now(l phrase.Lang) (view.Page, []Part, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if age := time.Since(h.last.Now); h.parts == nil || age > fresh || age < 0 {
		h.last, h.parts = h.Look(), map[phrase.Lang][]Part{}
		h.last.ECGs = h.login(h.last) != ""
	}
	v := view.Make(h.last, l)
	parts, known := h.parts[l]
	if !known {
		var err error
		if parts, err = h.Pages.Parts(v); err != nil {
			return v, nil, err
		}
		h.parts[l] = parts
	}
	return v, parts, nil
}

// refuse says what is wrong in a page of its own.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, status int, id string) int {
	l := lang(r)
	text, err := h.Pages.Refused(l, l.Text(id))
	if err != nil {
		h.Log.Error("page", "err", err)
	}
	return write(w, status, "text/html; charset=utf-8", []byte(text))
}

func write(w http.ResponseWriter, status int, kind string, body []byte) int {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeWithin)) // not every writer can
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a browser that left needs none
	return status
}
