package osrelease

import "testing"

func TestVersion(t *testing.T) {
	for text, want := range map[string]string{
		"NAME=clinicgate\nID=clinicgate\nVERSION_ID=1.4.0\n": "1.4.0",
		"ID=\"clinicgate\"\nVERSION_ID=\"1.4.0\"\n":          "1.4.0",
		"ID=clinicgate\n": "dev",
		"PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID=\"12\"\n": "dev",
		"": "dev",
	} {
		if got := version(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
