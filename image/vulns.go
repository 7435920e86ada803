package main

import (
	"errors"
	"flag"
	"io"
	"os"

	"clinicgate/image/bom"
)

// vulnsCommand compares a build's parts with what is known of them. Both sources
// are files: a build server has no network.
func vulnsCommand(args []string) error {
	set := flag.NewFlagSet("vulns", flag.ExitOnError)
	parts := set.String("bom", "", "bill of materials (`file`)")
	debian := set.String("debian", "", "Debian's security tracker as JSON (`file`)")
	release := set.String("debian-release", "bookworm", "`release` of Debian")
	gofile := set.String("go", "", "what govulncheck -format json wrote (`file`)")
	out := set.String("o", "", "write a CycloneDX document to `file`")
	_ = set.Parse(args)
	if *parts == "" || *debian == "" && *gofile == "" {
		return errors.New("want: image vulns -bom FILE and -debian FILE, -go FILE or both")
	}
	image, err := read(*parts, bom.Read)
	if err != nil {
		return err
	}
	var all []bom.Vulnerability
	for _, source := range []struct {
		path string
		find func(io.Reader) ([]bom.Vulnerability, error)
	}{
		{*debian, func(r io.Reader) ([]bom.Vulnerability, error) { return image.Debian(r, *release) }},
		{*gofile, image.Go},
	} {
		if source.path == "" {
			continue
		}
		found, err := read(source.path, source.find)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	for _, v := range all {
		say("%s in %s; fixed in: %s; %s", v.ID, v.Part, orNone(v.Fixed), orNone(v.Urgency))
	}
	say("%d known vulnerabilities in %d parts", len(all), len(image.Parts))
	if *out == "" {
		return nil
	}
	return writeDocument(*out, func(w io.Writer) error { return image.WriteVulnerabilities(w, all) })
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// read opens a file for a reader.
func read[T any](path string, from func(io.Reader) (T, error)) (T, error) {
	f, err := os.Open(path)
	if err != nil {
		var none T
		return none, err
	}
	defer f.Close()
	return from(f)
}
