// Package config is the [card] section of the site file: readers and their rooms,
// whose cards are trusted, and which professions have which role.
package config

import (
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"

	"clinicgate/firmware/site"
	"clinicgate/firmware/wire"
)

// Config is a checked [card] section.
type Config struct {
	Site    string // code of the clinic, names the issuer of tokens
	Listen  string // host:port of the login endpoint
	Anchors []string
	Devices string // file names in the site's anchors folder
	Policy  x509.OID
	Roles   map[string]string // profession OID → role
	Readers []Reader
	Agents  Agents
	Apps    *Apps // nil: no program in a browser logs in

	SealedPIN bool // a PIN that comes as it was typed is refused at the login endpoint

	Workstations Workstations
	Patients     *Patients // nil: no patient's card is read here
	Care         Care
	Revocation   *Revocation // nil: the age of lists of revoked cards is not held against cards
}

// Reader says which room a card reader stands in.
type Reader struct {
	Match string // start of the PC/SC name
	Room  string
	Agent bool // the room's workstation has the reader; Match follows from Room
	// Patients says that it is for patients' cards; it stands beside another
	// one, or alone for patients who come to read.
	Patients bool
}

// section is the file's form; zero values mean unset.
type section struct {
	Listen  string              `toml:"listen"`
	Anchors []string            `toml:"anchors"`
	Devices string              `toml:"devices"`
	Policy  string              `toml:"policy"`
	Sealed  bool                `toml:"sealed_pin"`
	Roles   map[string][]string `toml:"roles"`
	Reader  []struct {
		Match string `toml:"match"`
		Room  string `toml:"room"`
		For   string `toml:"for"`
		Agent bool   `toml:"agent"`
	} `toml:"reader"`
	Agents      agentsSection        `toml:"agents"`
	Apps        *appsSection         `toml:"apps"`
	App         []appSection         `toml:"app"`
	Browser     []browserSection     `toml:"browser"`
	Unit        string               `toml:"workstation_unit"`
	Workstation []workstationSection `toml:"workstation"`
	Patients    *patientsSection     `toml:"patients"`
	Care        careSection          `toml:"care"`
	Revocation  *revocationSection   `toml:"revocation"`
}

// roles a certificate can give here. Patients' cards are not known by profession.
var roles = []string{wire.RoleDoctor, wire.RoleNurse, wire.RoleStaff}

// Parse checks the section and returns the first thing wrong with it.
func Parse(f *site.File) (Config, error) {
	id, err := f.Identity()
	if err != nil {
		return Config{}, err
	}
	var s section
	if err := f.Decode("card", &s); err != nil {
		return Config{}, err
	}
	c := Config{Site: id.Code, Listen: s.Listen, Anchors: s.Anchors, Devices: s.Devices, SealedPIN: s.Sealed}
	if _, port, err := net.SplitHostPort(s.Listen); err != nil || port == "" {
		return Config{}, f.Errorf("card.listen", "got %q, want an address and port such as \":8444\"", s.Listen)
	}
	if len(s.Anchors) == 0 {
		return Config{}, f.Errorf("card.anchors", "got none, want the file of at least one CA of cards")
	}
	for _, name := range append(slices.Clone(s.Anchors), s.Devices) {
		if !isFileName(name) {
			return Config{}, f.Errorf("card.anchors", "got %q, want a file name in the site's anchors folder", name)
		}
	}
	if c.Policy, err = x509.ParseOID(s.Policy); err != nil {
		return Config{}, f.Errorf("card.policy", "got %q, want an object identifier such as \"1.3.6.1.4.1.99999.1.1\"", s.Policy)
	}
	if c.Roles, err = professions(f, s.Roles); err != nil {
		return Config{}, err
	}
	if c.Agents, err = agents(f, s.Agents); err != nil {
		return Config{}, err
	}
	if c.Readers, err = readers(f, s); err != nil {
		return Config{}, err
	}
	if c.Workstations, err = workstations(f, s, c.Readers); err != nil {
		return Config{}, err
	}
	if c.Apps, err = apps(f, s, c.Readers); err != nil {
		return Config{}, err
	}
	if c.Patients, err = patients(f, s); err != nil {
		return Config{}, err
	}
	if c.Care, err = care(f, s); err != nil {
		return Config{}, err
	}
	c.Revocation, err = revocation(f, s)
	return c, err
}

// professions turns role → OIDs around.
func professions(f *site.File, given map[string][]string) (map[string]string, error) {
	byOID := map[string]string{}
	for role, oids := range given {
		key := "card.roles." + role
		if !slices.Contains(roles, role) {
			return nil, f.Errorf(key, "unknown role, want one of %s", strings.Join(roles, ", "))
		}
		for _, oid := range oids {
			if _, err := x509.ParseOID(oid); err != nil {
				return nil, f.Errorf(key, "got %q, want an object identifier", oid)
			}
			if other, taken := byOID[oid]; taken && other != role {
				return nil, f.Errorf(key, "profession %s gives %s already", oid, other)
			}
			byOID[oid] = role
		}
	}
	if len(byOID) == 0 {
		return nil, f.Errorf("card.roles", "got none, want the professions that log in, such as doctor = [\"1.2.276.0.76.4.30\"]")
	}
	return byOID, nil
}

func readers(f *site.File, s section) ([]Reader, error) {
	if len(s.Reader) == 0 {
		return nil, f.Errorf("card.reader", "got none, want at least one [[card.reader]]")
	}
	var all []Reader
	for i, r := range s.Reader {
		key := func(k string) string { return fmt.Sprintf("card.reader[%d].%s", i, k) }
		if r.Room == "" || len(r.Room) > 64 {
			return nil, f.Errorf(key("room"), "got %q, want 1 to 64 characters", r.Room)
		}
		patients := r.For == "patients"
		if r.For != "" && r.For != "staff" && !patients {
			return nil, f.Errorf(key("for"), "got %q, want \"staff\" or \"patients\"", r.For)
		}
		if patients && s.Patients == nil {
			return nil, f.Errorf(key("for"), "patients' cards are not set up, want [card.patients]")
		}
		if r.Agent {
			if err := agentReader(f, i, r.Match, r.Room, s.Agents); err != nil {
				return nil, err
			}
			r.Match = AgentReader(r.Room)
		}
		if r.Match == "" {
			return nil, f.Errorf(key("match"), "got nothing, want the start of the reader's PC/SC name")
		}
		for _, o := range all {
			if strings.HasPrefix(o.Match, r.Match) || strings.HasPrefix(r.Match, o.Match) {
				return nil, f.Errorf(key("match"), "%q and %q can mean the same reader", o.Match, r.Match)
			}
			if o.Room == r.Room && o.Patients == patients {
				return nil, f.Errorf(key("room"), "room %q has a reader already", r.Room)
			}
		}
		all = append(all, Reader{Match: r.Match, Room: r.Room, Patients: patients, Agent: r.Agent})
	}
	return all, nil
}
