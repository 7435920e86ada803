package config

import (
	"strings"
	"testing"
)

func TestOAuth(t *testing.T) {
	with := func(more string) (Config, error) {
		return parse(strings.Replace(least, "http://h/fhir/\"\n", "https://h/fhir/\"\n[sync.ehr.oauth]\n"+more+"\n", 1))
	}
	c, err := with(`client_id = "box"`)
	if o := c.EHR.OAuth; err != nil || o == nil || o.ClientID != "box" || o.Key != defaultKey || o.TokenURL != nil || o.Scope != defaultScope {
		t.Fatalf("got %+v %v", o, err)
	}
	c, err = with("client_id = \"box\"\nkey = \"k\"\ntoken_url = \"https://h/t\"\nscopes = [\"a\", \"b\"]")
	if o := c.EHR.OAuth; err != nil || o.Key != "k" || o.TokenURL.String() != "https://h/t" || o.Scope != "a b" {
		t.Fatalf("got %+v %v", o, err)
	}
	for text, want := range map[string]string{
		`key = "k"`:                                         "sync.ehr.oauth.client_id",
		"client_id = \"b\"\nkey = \"../k\"":                 "sync.ehr.oauth.key",
		"client_id = \"b\"\ntoken_url = \"http://h/t\"":     "want https",
		"client_id = \"b\"\nscopes = [\"a b\"]":             "sync.ehr.oauth.scopes",
		"client_id = \"b\"\nsecret = \"never in the file\"": "secret",
	} {
		if _, err := with(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	plain := strings.Replace(least, "http://h/fhir/\"\n", "http://h/fhir/\"\nca = \"a/b\"\n", 1)
	if _, err := parse(plain); err == nil || !strings.Contains(err.Error(), "sync.ehr.ca") {
		t.Errorf("a CA with a path: %v", err)
	}
}
