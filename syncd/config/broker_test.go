package config

import (
	"strings"
	"testing"
)

const broker = least + `[[sync.destination]]
name        = "cloud"
kind        = "mqtt"
url         = "mqtts://mqtt.example:8883/clinic/gateway-1"
certificate = "cloud"
anchor      = "cloud.pem"
accepts     = ["scp-ecg", "pdf"]
`

func TestBroker(t *testing.T) {
	c, err := parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	d := c.Destinations[0]
	if want := (Broker{Certificate: "cloud", Anchor: "cloud.pem", Receiver: true}); d.Broker != want || d.URL.Host != "mqtt.example:8883" || d.URL.Path != "/clinic/gateway-1" {
		t.Errorf("got %+v at %v, want %+v", d.Broker, d.URL, want)
	}
	if c, err = parse(broker + "confirm = \"broker\"\n"); err != nil || c.Destinations[0].Receiver {
		t.Errorf("%v, %+v", err, c.Destinations)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"plain":            {"mqtts://mqtt.example:8883", "mqtt://mqtt.example:1883", "want mqtts://host:port/TOPIC"},
		"no port":          {"mqtt.example:8883", "mqtt.example", "want mqtts://host:port/TOPIC"},
		"no topic":         {"/clinic/gateway-1", "/", "got the topic \"\""},
		"a filter":         {"/clinic/gateway-1", "/clinic/+", "without +, # and $"},
		"password":         {"mqtts://", "mqtts://u:p@", "has a user or password"},
		"no certificate":   {`certificate = "cloud"`, "", "certificate: got \"\""},
		"the LAN's":        {`certificate = "cloud"`, `certificate = "tls"`, "want another"},
		"path in anchor":   {`"cloud.pem"`, `"../cloud.pem"`, "without a path"},
		"format":           {`"pdf"`, `"fhir"`, "for kind \"mqtt\""},
		"confirm":          {`accepts  `, "confirm = \"nobody\"\naccepts  ", `want "broker" or "receiver"`},
		"at another":       {`kind        = "mqtt"`, `kind = "tus"`, `want it at a destination of kind "mqtt" only`},
		"unknown key":      {`anchor `, `anker `, "anker: unknown key"},
		"another's scheme": {"mqtts://", "https://", "want mqtts://host:port/TOPIC"},
	} {
		text := strings.Replace(broker, c.from, c.to, 1)
		if _, err := parse(text); text == broker || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
}
