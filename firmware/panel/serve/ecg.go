package serve

import (
	"net/http"
	"net/url"
	"strings"

	"clinicgate/firmware/panel/view"
)

// login is where programs in a browser log in with a card, as cardauth says; empty
// when nothing or nobody lets them, or it is no https origin.
func (h *Handler) login(o view.Of) string {
	c := o.Box.Card
	if h.Records == "" || c.V == nil || c.V.Apps == nil {
		return ""
	}
	u, err := url.Parse(c.V.Apps.Base)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.ContainsAny(u.Host, " ;,'") {
		return ""
	}
	return "https://" + u.Host
}

// ecg is the page where a doctor looks at ECGs. The clinic's page takes no part in
// it: login and drawings are between the browser, cardauth and syncd.
func (h *Handler) ecg(w http.ResponseWriter, r *http.Request) int {
	l := lang(r)
	if _, _, err := h.now(l); err != nil {
		return h.refuse(w, r, http.StatusInternalServerError, "unknown")
	}
	h.mu.Lock()
	login := h.login(h.last)
	h.mu.Unlock()
	if login == "" {
		return h.refuse(w, r, http.StatusNotFound, "error.nopage")
	}
	text, err := h.Pages.ECG(l, h.Records, login)
	if err != nil {
		h.Log.Error("page", "err", err)
		return h.refuse(w, r, http.StatusInternalServerError, "unknown")
	}
	records, _ := url.Parse(h.Records) // config has checked it
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self' "+login+"; img-src 'self' blob:; "+
		"connect-src "+login+" https://"+records.Host+"; form-action 'none'; frame-ancestors 'none'; base-uri 'none'")
	return write(w, http.StatusOK, "text/html; charset=utf-8", []byte(text))
}
