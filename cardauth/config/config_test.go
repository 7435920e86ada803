package config

import (
	"os"
	"strings"
	"testing"

	"clinicgate/firmware/site"
)

func example(t *testing.T) string {
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
	if c.Site != "ES-VA-047" || c.Listen != ":8444" || c.Devices != "devices.pem" || len(c.Anchors) != 1 ||
		c.Roles["1.3.6.1.4.1.99999.2.1"] != "doctor" || c.Roles["1.3.6.1.4.1.99999.2.2"] != "nurse" {
		t.Fatalf("got %+v", c)
	}
	if len(c.Readers) != 1 || c.Readers[0] != (Reader{Match: "Gemalto", Room: "consulting-1"}) {
		t.Fatalf("readers %+v", c.Readers)
	}
}

// Each case changes the example in one place and must be refused in those words.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"no listen":       {`listen  = ":8444"`, ``, `card.listen: got ""`},
		"no port":         {`listen  = ":8444"`, `listen = "8444"`, `card.listen: got "8444"`},
		"no anchors":      {`anchors = ["professionals.pem"]`, ``, "card.anchors: got none"},
		"anchor path":     {`["professionals.pem"]`, `["../secrets/x.pem"]`, `card.anchors: got "../secrets/x.pem"`},
		"no devices":      {`devices = "devices.pem"  # CA`, `#`, `card.anchors: got ""`},
		"policy":          {`policy  = "1.3.6`, `policy  = "x.3.6`, "card.policy: got"},
		"no roles":        {"doctor = [\"1.3.6.1.4.1.99999.2.1\"]\nnurse  = [\"1.3.6.1.4.1.99999.2.2\"]\n", "", "card.roles: got none"},
		"unknown role":    {"doctor = [", "janitor = [", "card.roles.janitor: unknown role"},
		"bad profession":  {`["1.3.6.1.4.1.99999.2.1"]`, `["doctor"]`, `card.roles.doctor: got "doctor"`},
		"profession of 2": {`["1.3.6.1.4.1.99999.2.1"]`, `["1.3.6.1.4.1.99999.2.2"]`, "profession 1.3.6.1.4.1.99999.2.2 gives"},
		"no reader":       {"[[card.reader]]\nmatch = \"Gemalto\"        # start of the PC/SC name\nroom  = \"consulting-1\"", "", "card.reader: got none"},
		"no match":        {`match = "Gemalto"`, `match = ""`, "card.reader[0].match: got nothing"},
		"no room":         {`room  = "consulting-1"`, ``, "card.reader[0].room: got \"\""},
		"same reader":     {"[[card.reader]]", "[[card.reader]]\nmatch = \"Gem\"\nroom = \"2\"\n[[card.reader]]", "can mean the same reader"},
		"same room":       {"[[card.reader]]", "[[card.reader]]\nmatch = \"Omnikey\"\nroom = \"consulting-1\"\n[[card.reader]]", "has a reader already"},
		"agent's match":   {"[[card.reader]]", "[card.agents]\nlisten=\":8445\"\n[[card.reader]]\nmatch=\"x\"\nroom=\"2\"\nagent=true\n[[card.reader]]", "card.reader[0].match: got \"x\" with agent = true"},
		"agent's room":    {"[[card.reader]]", "[card.agents]\nlisten=\":8445\"\n[[card.reader]]\nroom=\"a/b\"\nagent=true\n[[card.reader]]", "card.reader[0].room: got \"a/b\""},
		"nobody listens":  {"[[card.reader]]", "[[card.reader]]\nroom=\"2\"\nagent=true\n[[card.reader]]", "want card.agents.listen too"},
		"agents' port":    {"[[card.reader]]", "[card.agents]\nlisten=\"8445\"\n[[card.reader]]", "card.agents.listen: got \"8445\""},
		"unknown key":     {"[[card.reader]]", "[[card.reader]]\npinpad = true", "card.reader.pinpad: unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(example(t), c.from, c.to, 1)
			if text == example(t) {
				t.Fatalf("the example has no %q", c.from)
			}
			if _, err := parse(text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
