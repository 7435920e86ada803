package config

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/site"
)

// example is the documented site file: it must stay a valid one.
func example(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/site.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parse(text string) (Config, error) {
	f, err := site.Parse("site.toml", []byte(text))
	if err != nil {
		return Config{}, err
	}
	return Parse(f)
}

func TestExample(t *testing.T) {
	c, err := parse(example(t))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != ":8443" || c.Devices != "devices.pem" || c.Site.Code != "ES-VA-047" {
		t.Errorf("got %+v", c)
	}
	if c.EHR.Base.String() != "http://10.98.1.10:8103/fhir/R4" || c.EHR.Timeout != 5*time.Second {
		t.Errorf("ehr %v %v", c.EHR.Base, c.EHR.Timeout)
	}
	if c.DICOM.Title != "CLINICGATE" || len(c.DICOM.Callers) != 1 || c.MQTT.Listen != ":8883" {
		t.Errorf("dicom %+v mqtt %+v", c.DICOM, c.MQTT)
	}
	if c.Uploads == nil || len(c.Uploads.Devices) != 1 {
		t.Errorf("uploads %+v", c.Uploads)
	}
	if len(c.Destinations) != 2 || c.Destinations[0].Auth != "hospital.auth" || c.Destinations[1].Kind != KindFHIR {
		t.Errorf("destinations %+v", c.Destinations)
	}
}

const least = `[site]
name = "x"
code = "y"
[sync]
listen = ":1"
devices = "d.pem"
[sync.ehr]
base = "http://h/fhir/"
`

func TestDefaults(t *testing.T) {
	c, err := parse(least)
	if err != nil {
		t.Fatal(err)
	}
	if c.EHR.Timeout != 5*time.Second || c.Cache.Bytes != 512<<20 || c.Cache.Fresh != 0 || c.DICOM != nil || c.MQTT != nil {
		t.Errorf("got %+v", c)
	}
	if got := c.EHR.Base.String(); got != "http://h/fhir" {
		t.Errorf("base %q, want no trailing slash", got)
	}
}

// Each case breaks one thing in the example and names the words of the complaint.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown key":         {`title   = "CLINICGATE"`, `titel = "X"`, "sync.dicom.titel: unknown key"},
		"no port":             {`listen  = ":8443"`, `listen = "8443"`, `sync.listen: got "8443"`},
		"port out of range":   {`listen  = ":8443"`, `listen = ":84430"`, `sync.listen: got ":84430"`},
		"host name":           {`listen  = ":8443"`, `listen = "box:8443"`, "want an IP address"},
		"path in devices":     {"[sync]\nlisten  = \":8443\"        # FHIR R4, TLS, client certificate of the workstation required\ndevices = \"devices.pem\"", "[sync]\nlisten = \":8443\"\ndevices = \"../x\"", "sync.devices: got \"../x\""},
		"ehr scheme":          {"http://10.98.1.10:8103/fhir/R4\"\ntimeout", "ftp://h/\"\ntimeout", "sync.ehr.base: got \"ftp://h/\""},
		"ehr password":        {"http://10.98.1.10:8103/fhir/R4\"\ntimeout", "http://u:p@h/\"\ntimeout", "sync.ehr.base: has a user"},
		"timeout":             {`timeout = "5s"`, `timeout = "5ms"`, "sync.ehr.timeout: got 5ms, want 100ms to 1m0s"},
		"long title":          {`title   = "CLINICGATE"`, `title = "CLINICGATECLINICGATE"`, "sync.dicom.title"},
		"empty caller":        {`callers = ["ECGCART"]`, `callers = [" "]`, "sync.dicom.callers"},
		"same port":           {`listen = ":8883"`, `listen = ":11112"`, "port 11112 is taken by sync.dicom.listen"},
		"kind":                {`kind    = "stow"`, `kind = "ftp"`, `sync.destination[0].kind: got "ftp"`},
		"format":              {`accepts = ["dicom"]`, `accepts = ["scp-ecg"]`, "for kind \"stow\""},
		"no DICOM node":       {`url     = "http://10.98.2.10:8042/dicom-web"`, `url     = "dicom://10.98.2.10"`, "want http"},
		"format twice":        {`["scp-ecg", "aecg", "pdf", "hl7v2", "fhir"]`, `["pdf", "pdf"]`, "goes to \"ehr\" already"},
		"name twice":          {`name    = "ehr"`, `name = "hospital"`, "a second time"},
		"name":                {`name    = "ehr"`, `name = "e h r"`, `sync.destination[1].name: got "e h r"`},
		"no formats":          {`accepts = ["dicom"]`, `accepts = []`, "sync.destination[0].accepts: got nothing"},
		"nobody takes dicom":  {`accepts = ["dicom"]`, `accepts = []`, "sync.dicom: no destination accepts"},
		"path in auth":        {`auth    = "hospital.auth"`, `auth = "/etc/x"`, "sync.destination[0].auth"},
		"negative freshness":  {`fresh   = "0s"`, `fresh = "-1s"`, "sync.cache.fresh: got -1s"},
		"cache too small":     {`size_mb = 512`, `size_mb = 1`, "sync.cache.size_mb: got 1"},
		"hl7 port":            {`":2575"`, `":11112"`, "port 11112 is taken by sync.dicom.listen"},
		"hl7 sender":          {`senders = ["ECGAPP"]`, `senders = [""]`, `sync.hl7.senders: got ""`},
		"nobody takes hl7":    {`"pdf", "hl7v2"`, `"pdf"`, "sync.hl7: no destination accepts"},
		"upload device":       {`devices = ["holter-1"]`, `devices = [""]`, `sync.uploads.devices: got ""`},
		"query in a base url": {`dicom-web"`, `dicom-web?x"`, "without ? and #"},
	} {
		t.Run(name, func(t *testing.T) {
			text := example(t)
			changed := strings.Replace(text, c.from, c.to, 1)
			if changed == text {
				t.Fatalf("%q is not in the example", c.from)
			}
			_, err := parse(changed)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
			if !strings.HasPrefix(err.Error(), "site.toml:") {
				t.Errorf("no file:line in %q", err)
			}
		})
	}
}

func TestAllComplaintsAtOnce(t *testing.T) {
	_, err := parse(strings.Replace(strings.Replace(least, ":1", "1", 1), "http:", "x:", 1))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Fatalf("got %v, want two lines", err)
	}
	if _, err := parse(least + "[sync.uploads]\n"); err == nil || !strings.Contains(err.Error(), "sync.uploads: there is no destination") {
		t.Fatalf("got %v", err)
	}
	if _, err := parse(strings.Split(least, "[sync.ehr]")[0]); err == nil || !strings.Contains(err.Error(), "sync.ehr: table is missing") {
		t.Fatalf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example(f))
	f.Add(least)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if err == nil && (c.EHR.Base == nil || c.EHR.Base.Host == "" || c.Listen == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}

// Destinations of each kind, as the documentation has them.
func TestDestinationKinds(t *testing.T) {
	for address, ok := range map[string]bool{
		"dicom://VIEWER@10.98.2.11:104": true, "dicom://10.98.2.11:104": false, "dicom://VIEWER@10.98.2.11": false,
		"http://VIEWER@10.98.2.11:104": false, "dicom://A_TITLE_THAT_IS_TOO_LONG@10.98.2.11:104": false, "dicom://VIEWER@10.98.2.11:104/x": false,
	} {
		c := check{f: new(site.File)}
		if c.address("url", KindNode, address); (c.err() == nil) != ok {
			t.Errorf("%s: %v", address, c.err())
		}
	}
	if !slices.Contains(formats(KindTus), FormatPDF) || !slices.Contains(formats(KindNode), FormatDICOM) || formats("mail") != nil {
		t.Error("a kind takes what it can't carry")
	}
}
