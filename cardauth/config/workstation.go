package config

import (
	"crypto/x509"
	"fmt"
	"slices"

	"clinicgate/firmware/site"
)

// Workstations are the devices where cards may be used. A modality's certificate
// comes from the same CA and must not spend anybody's PIN tries.
type Workstations struct {
	Unit  string              // organizational unit of their certificates
	Rooms map[string][]string // common name → rooms; empty: any of them for any room
}

// unit is what the certificates of workstations say when the site names nothing else.
const unit = "workstation"

// Admits says whether a certificate is a workstation's, and the room one of its.
func (w Workstations) Admits(cert *x509.Certificate, room string) bool {
	if !slices.Contains(cert.Subject.OrganizationalUnit, w.Unit) {
		return false
	}
	return len(w.Rooms) == 0 || slices.Contains(w.Rooms[cert.Subject.CommonName], room)
}

// workstationSection is the file's form of one workstation.
type workstationSection struct {
	Name  string   `toml:"name"`
	Rooms []string `toml:"rooms"`
}

// workstations checks them; rooms must have a reader.
func workstations(f *site.File, s section, all []Reader) (Workstations, error) {
	w := Workstations{Unit: s.Unit, Rooms: map[string][]string{}}
	if w.Unit == "" {
		w.Unit = unit
	}
	for i, one := range s.Workstation {
		key := func(k string) string { return fmt.Sprintf("card.workstation[%d].%s", i, k) }
		if one.Name == "" {
			return w, f.Errorf(key("name"), "got nothing, want the common name of the workstation's certificate")
		}
		if w.Rooms[one.Name] != nil {
			return w, f.Errorf(key("name"), "%q is there twice", one.Name)
		}
		if len(one.Rooms) == 0 {
			return w, f.Errorf(key("rooms"), "got none, want the rooms whose readers %q may use", one.Name)
		}
		for _, room := range one.Rooms {
			if !slices.ContainsFunc(all, func(r Reader) bool { return r.Room == room }) {
				return w, f.Errorf(key("rooms"), "room %q has no [[card.reader]]", room)
			}
		}
		w.Rooms[one.Name] = one.Rooms
	}
	return w, nil
}
