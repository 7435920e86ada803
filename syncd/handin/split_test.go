package handin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Where a Bundle goes does not depend on those before it.
func TestSplit(t *testing.T) {
	to := ""
	name := func(n string) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { to = n })
	}
	h := split(name("records"), name("queue"))
	entry := func(request string) string {
		return `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{},"request":{` + request + `}}]}`
	}
	for range 2 {
		for _, c := range []struct{ body, auth, want string }{
			{entry(`"method":"GET","url":"Patient/1"`), "", "records"},
			{entry(`"method":"POST","url":"Task"`), "Bearer x", "queue"},
			{entry(`"method":"POST","url":"Task"`), "", "queue"},
			{entry(`"method":"PUT","url":"Task/1"`), "Bearer x", "records"},
			{entry(`"method":"PUT","url":"Task/1"`), "", "queue"},
			{entry(`"method":"POST","url":"Task","ifNoneExist":"identifier=a|b"`), "Bearer x", "records"},
			{`{`, "Bearer x", "queue"},
		} {
			r := httptest.NewRequest(http.MethodPost, "/fhir/R4", strings.NewReader(c.body))
			if c.auth != "" {
				r.Header.Set("Authorization", c.auth)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if to != c.want {
				t.Errorf("%s by %q: to %s, want %s", c.body, c.auth, to, c.want)
			}
		}
	}
}
