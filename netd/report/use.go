package report

import (
	"fmt"
	"math"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/stamp"
	"clinicgate/netd/volume"
)

// Use is what an uplink is used for and what went through it.
type Use struct {
	Share  int // percent of the new flows of no particular class
	Month  volume.Record
	Rx, Tx float64 // bits a second, lately
	Path   stamp.Result
}

func (u Uplink) use() wire.UplinkUse {
	w := wire.UplinkUse{
		Role: u.Config.Role, Share: u.Use.Share, Portal: u.Status.Portal,
		JitterOutMS: millis(u.Use.Path.JitterOut), JitterInMS: millis(u.Use.Path.JitterIn),
		LossOutPct: tenth(u.Use.Path.LossOut), LossInPct: tenth(u.Use.Path.LossIn),
		LineUp: u.Config.Up, LineDown: u.Config.Down, Metered: u.Config.Metered,
		RxBPS: float64(int(u.Use.Rx)), TxBPS: float64(int(u.Use.Tx)),
	}
	if volume.Spent(u.Use.Month.Bytes, u.Config.Cap) {
		w.Role = config.LastResort
	}
	if m := u.Use.Month; !m.Since.IsZero() {
		w.Month = &wire.Month{
			Since: m.Since, Until: volume.End(m.Since), Bytes: m.Bytes, Cap: uint64(u.Config.Cap), Cost: volume.Cost(m.Bytes, u.Config.Price),
		}
	}
	return w
}

// tenth rounds a percentage.
func tenth(v float64) float64 { return math.Round(v*10) / 10 }

// capFaults says when the month's bytes run out.
func (u Uplink) capFaults(add adder) {
	m, c := u.Use.Month, u.Config
	what := fmt.Sprintf("%s of the month's %s are used up by %s", bytes(m.Bytes), bytes(uint64(c.Cap)), c.Name)
	until := volume.End(m.Since).Format(time.DateOnly)
	switch {
	case volume.Spent(m.Bytes, c.Cap):
		add("uplink.cap", wire.Alarm, "uplink "+c.Name, what+": it is a last resort until "+until,
			fmt.Sprintf("buy more from %s and enter it as cap in the site file, or wait until %s", c.Name, until))
	case volume.Near(m.Bytes, c.Cap):
		add("uplink.cap", wire.Warning, "uplink "+c.Name, what,
			fmt.Sprintf("nothing yet; from 95 %% on %s is a last resort until %s", c.Name, until))
	}
}

// bytes is a number of bytes as providers sell them.
func bytes(n uint64) string {
	for _, p := range []struct {
		unit   string
		factor float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if v := float64(n) / p.factor; v >= 1 {
			return fmt.Sprintf("%.3g %s", v, p.unit)
		}
	}
	return fmt.Sprintf("%d B", n)
}
