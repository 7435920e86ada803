package config

import (
	"strings"
	"testing"
)

const goodApps = `
[card.apps]
listen = ":8446"
base   = "https://gateway.internal:8446"
fhir   = "https://gateway.internal:8447/fhir/R4"
[[card.app]]
client_id     = "chart"
name          = "Chart"
redirect_uris = ["https://chart.internal/cb", "https://chart.internal/cb2", "http://localhost:8000/"]
scopes        = ["user/*.rs", "openid"]
bind          = "dpop"
[[card.browser]]
address = "10.20.0.50"
room    = "consulting-1"
`

func TestApps(t *testing.T) {
	c, err := parse(example(t) + goodApps)
	if err != nil {
		t.Fatal(err)
	}
	a := c.Apps
	if a == nil || len(a.Apps) != 1 || a.Apps[0].Scopes != "user/*.rs openid" || len(a.Apps[0].Origins) != 2 || a.Apps[0].Origins[0] != "https://chart.internal" || a.Browsers[0].Room != "consulting-1" {
		t.Fatalf("got %+v", a)
	}
	for name, x := range map[string]struct{ from, to, want string }{
		"no base":           {`base   = "https://gateway.internal:8446"`, ``, "card.apps.base: got \"\""},
		"base with a path":  {`internal:8446"`, `internal:8446/"`, "card.apps.base"},
		"plain base":        {`base   = "https`, `base = "http`, "card.apps.base"},
		"fhir":              {`/fhir/R4"`, `/"`, "card.apps.fhir"},
		"no listen":         {`listen = ":8446"`, ``, "card.apps.listen"},
		"no id":             {`"chart"`, `""`, "card.app[0].client_id"},
		"no name":           {`"Chart"`, `""`, "card.app[0].name"},
		"bind":              {`"dpop"`, `"none"`, "card.app[0].bind: got \"none\""},
		"plain redirect":    {`"https://chart.internal/cb"`, `"http://chart.internal/cb"`, "card.app[0].redirect_uris"},
		"redirect's query":  {`/cb"`, `/cb?x=1"`, "card.app[0].redirect_uris"},
		"redirect's anchor": {`/cb"`, `/cb#"`, "card.app[0].redirect_uris"},
		"any redirect":      {`"https://chart.internal/cb"`, `"https://*"`, "card.app[0].redirect_uris"},
		"two scopes in one": {`"openid"`, `"openid fhirUser"`, "card.app[0].scopes"},
		"twice":             {"[[card.browser]]", "[[card.app]]\nclient_id=\"chart\"\nname=\"x\"\n[[card.browser]]", "registered already"},
		"address":           {`"10.20.0.50"`, `"ws-1"`, "card.browser[0].address"},
		"room":              {`room    = "consulting-1"`, `room = "cellar"`, "card.browser[0].room"},
		"no apps":           {"[card.apps]\nlisten = \":8446\"\nbase   = \"https://gateway.internal:8446\"\nfhir   = \"https://gateway.internal:8447/fhir/R4\"\n", "", "card.app: got programs"},
	} {
		text := strings.Replace(goodApps, x.from, x.to, 1)
		if text == goodApps {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := parse(example(t) + text); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, x.want)
		}
	}
}
