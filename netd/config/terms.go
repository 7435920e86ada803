package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Roles of an uplink.
const (
	Primary    = "primary"     // takes new flows while it is the first usable one of its kind
	Shared     = "shared"      // takes its share of new flows whenever it is usable
	LastResort = "last-resort" // takes new flows when no other uplink is usable
)

// Terms are what an uplink is for, can do and costs.
type Terms struct {
	Role     string
	Weight   int     // of new flows, beside others that take some, 1 to 100
	Up, Down int64   // what it carries, in bits a second; 0: nobody said
	Cap      int64   // bytes a month in both directions together; 0: none
	CapDay   int     // of the month, 1 to 28: counting begins anew
	Price    float64 // of a gigabyte (10^9 bytes), in the clinic's money; 0: none
}

// uplinkTerms is how they are written.
type uplinkTerms struct {
	Role   string  `toml:"role"`
	Weight int     `toml:"weight"`
	Up     string  `toml:"up"`
	Down   string  `toml:"down"`
	Cap    string  `toml:"cap"`
	CapDay int     `toml:"cap_day"`
	Price  float64 `toml:"price"`
}

const (
	maxWeight = 100
	minRate   = 64_000          // a slower line carries no consultation
	maxRate   = 100_000_000_000 // bits a second
	minCap    = 10_000_000      // bytes
	maxCap    = 1_000_000_000_000_000
	maxPrice  = 1e6
)

func (r *reader) terms(key string, s uplinkTerms) Terms {
	t := Terms{
		Role:   cmp.Or(s.Role, Primary),
		Weight: cmp.Or(s.Weight, 1),
		Up:     r.quantity(key+".up", s.Up, "bit", minRate, maxRate),
		Down:   r.quantity(key+".down", s.Down, "bit", minRate, maxRate),
		Cap:    r.quantity(key+".cap", s.Cap, "B", minCap, maxCap),
		CapDay: cmp.Or(s.CapDay, 1),
		Price:  s.Price,
	}
	if !slices.Contains([]string{Primary, Shared, LastResort}, t.Role) {
		r.bad(key+".role", "got %q, want %q, %q or %q", s.Role, Primary, Shared, LastResort)
	}
	if t.Weight < 1 || t.Weight > maxWeight {
		r.bad(key+".weight", "got %d, want 1 to %d", s.Weight, maxWeight)
	}
	if t.CapDay < 1 || t.CapDay > 28 {
		r.bad(key+".cap_day", "got %d, want a day that each month has, 1 to 28", s.CapDay)
	}
	if s.CapDay != 0 && t.Cap == 0 {
		r.bad(key+".cap_day", "got a day without a cap, want cap as well, such as \"50GB\"")
	}
	if !(t.Price >= 0 && t.Price <= maxPrice) {
		r.bad(key+".price", "got %v, want the price of a gigabyte, 0 to %.0f", s.Price, maxPrice)
	}
	return t
}

// prefixes are the thousands that quantities are written in.
var prefixes = [...]struct {
	letter string
	factor float64
}{{"k", 1e3}, {"M", 1e6}, {"m", 1e6}, {"G", 1e9}, {"g", 1e9}, {"T", 1e12}, {"", 1}}

// quantity reads "20Mbit" or "1.5GB"; nothing is 0. Thousands are thousands, as
// providers sell them.
func (r *reader) quantity(key, got, unit string, low, high int64) int64 {
	if got == "" {
		return 0
	}
	number, found := strings.CutSuffix(got, unit)
	for _, p := range prefixes {
		digits, has := strings.CutSuffix(number, p.letter)
		if !found || !has {
			continue
		}
		v, err := strconv.ParseFloat(digits, 64)
		if n := v * p.factor; err == nil && n >= float64(low) && n <= float64(high) {
			return int64(n)
		}
		break
	}
	r.bad(key, "got %q, want %s to %s, such as \"20M%s\"", got, amount(low, unit), amount(high, unit), unit)
	return 0
}

// amount writes a quantity as quantity reads it.
func amount(n int64, unit string) string {
	for _, p := range []struct {
		letter string
		factor int64
	}{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if n >= p.factor && n%p.factor == 0 {
			return fmt.Sprintf("%d%s%s", n/p.factor, p.letter, unit)
		}
	}
	return fmt.Sprintf("%d%s", n, unit)
}
