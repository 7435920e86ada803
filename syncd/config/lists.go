package config

import (
	"fmt"
	"net/url"
	"time"

	"clinicgate/firmware/site"
)

// Lists are the lists of revoked cards that are fetched for cardauth, which has no
// way out of its own.
type Lists struct {
	URLs  []*url.URL
	Every time.Duration
}

type listsFile struct {
	URLs  []string       `toml:"urls"`
	Every *site.Duration `toml:"every"`
}

// maxLists bounds how many lists a site fetches.
const maxLists = 16

func (c *check) lists(in *file, out *Config) {
	if in.Lists == nil {
		return
	}
	l := &Lists{Every: c.duration("sync.lists.every", in.Lists.Every, 6*time.Hour, time.Minute, 7*24*time.Hour)}
	if n := len(in.Lists.URLs); n == 0 || n > maxLists {
		c.bad("sync.lists.urls", "got %d, want 1 to %d addresses of lists", n, maxLists)
	}
	for i, u := range in.Lists.URLs {
		l.URLs = append(l.URLs, c.url(fmt.Sprintf("sync.lists.urls[%d]", i), u))
	}
	out.Lists = l
}
