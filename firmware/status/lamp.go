package status

import (
	"clinicgate/firmware/lamp"
	"clinicgate/firmware/wire"
)

// Lamp is what the light at the front is to say of the clinic. A box that stands by
// is as it should be.
func Lamp(b Box) lamp.State {
	v := Judge(b)
	switch {
	case b.Update.Presence == Live && (b.Update.V.State == wire.UpdateArmed || b.Update.V.State == wire.UpdateProving):
		return lamp.Updating
	case b.SiteErr != "" && b.Net.Presence != Live, b.waitsForSite():
		return lamp.Starting
	case v.Level == Failed:
		return lamp.Help
	}
	if _, standing := backup(b); standing {
		return lamp.Good
	}
	good, bad := lines(b)
	if len(bad) > 0 || len(good) == 0 || tunnelsDown(b) {
		return lamp.Backup
	}
	if b.Sync.Presence == Live {
		for _, d := range b.Sync.V.Destinations {
			if d.State == "unreachable" {
				return lamp.Backup
			}
		}
	}
	return lamp.Good
}

// waitsForSite: there is no site file yet, which is no reason to call for help.
func (b Box) waitsForSite() bool {
	return b.Init.Presence == Live && tells(b.Init.V.Header, "site.missing")
}
