package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"clinicgate/syncd/serve"
)

// A cached read with everything on: TLS, token, decryption, trail on disk.
func BenchmarkCachedRead(b *testing.B) {
	c := newClinic(b)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(strings.Replace(readFile(b, c.path("site/site.toml")),
		"[sync.cache]\n", "[sync.cache]\nfresh = \"1h\"\n", 1)), 0o644))
	c.ehr.set("Patient/p1-secret", fmt.Sprintf(`{"resourceType":"Patient","id":"p1-secret","text":{"div":%q}}`, strings.Repeat("x", 4000)))
	c.keys()
	c.card(c.doctor())
	c.start()
	c.listening()
	c.read("Patient/p1-secret", 200)
	token := c.token()
	for _, at := range []int{1, 8} {
		b.Run(fmt.Sprintf("at-once-%d", at), func(b *testing.B) {
			b.SetParallelism(at)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, err := http.NewRequest(http.MethodGet, "https://127.0.0.1:"+c.port+serve.Base+"/Patient/p1-secret", nil)
					if err != nil {
						b.Error(err)
						return
					}
					r.Header.Set("Authorization", "Bearer "+token)
					resp, err := c.http.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Status"), "hit") {
						b.Errorf("got %d %s", resp.StatusCode, resp.Header.Get("Cache-Status"))
						return
					}
				}
			})
			b.ReportMetric(float64(rss(b, c.proc.Process.Pid)), "rss-KiB")
		})
	}
}

// rss is a process's resident memory.
func rss(b *testing.B, pid int) (kib int) {
	_, after, _ := strings.Cut(readFile(b, fmt.Sprintf("/proc/%d/status", pid)), "VmRSS:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}
