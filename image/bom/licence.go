package bom

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// spdx are the names that Licence gives and SPDX knows.
var spdx = []string{"Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause", "ISC", "MPL-2.0", "0BSD", "Unlicense", "CC0-1.0"}

// signs of licences, in words that stand in no other; the first that fits counts.
var signs = []struct{ name, words string }{
	{"Apache-2.0", "apache license version 2.0"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"BSD-3-Clause", "neither the name of"},
	{"BSD-3-Clause", "names of its contributors may be used to endorse"},
	{"BSD-2-Clause", "redistributions in binary form must reproduce"},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided"},
	{"ISC", "permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted, provided"},
	{"0BSD", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted."},
	{"Unlicense", "this is free and unencumbered software released into the public domain"},
	{"CC0-1.0", "cc0 1.0 universal"},
}

var spaces = regexp.MustCompile(`[\s,]+`)

// Licence names the licence whose text this is; "" when it is none we know.
func Licence(text string) string {
	plain := func(s string) string { return spaces.ReplaceAllString(strings.ToLower(s), " ") }
	text = plain(text)
	for _, s := range signs {
		if strings.Contains(text, plain(s.words)) {
			return s.name
		}
	}
	return ""
}

var (
	dep5   = regexp.MustCompile(`(?m)^License:[ \t]*(\S.*?)[ \t]*$`)
	common = regexp.MustCompile(`/usr/share/common-licenses/([A-Za-z]+(?:-[0-9][0-9.]*[0-9]|-[0-9])?)`)
)

// DebianLicences names the licences that a package's copyright file speaks of: by
// its fields (DEP-5) if it has them, else by the texts it points to, else by words.
func DebianLicences(copyright string) []string {
	var names []string
	for _, re := range []*regexp.Regexp{dep5, common} {
		for _, m := range re.FindAllStringSubmatch(copyright, -1) {
			if !slices.Contains(names, m[1]) {
				names = append(names, m[1])
			}
		}
		if len(names) > 0 {
			slices.Sort(names)
			return names
		}
	}
	if l := Licence(copyright); l != "" {
		return []string{l}
	}
	return nil
}

// WriteLicences writes the list of licences, and behind it each part's texts.
func (i Image) WriteLicences(w io.Writer, texts map[string]string) error {
	var out strings.Builder
	fmt.Fprintf(&out, "Parts of %s %s and their licences\n\n", i.Name, i.Version)
	for _, p := range i.sorted() {
		names := strings.Join(p.Licences, ", ")
		if names == "" {
			names = "UNKNOWN"
		}
		fmt.Fprintf(&out, "%s %s: %s\n", p.Name, p.Version, names)
	}
	for _, p := range i.sorted() {
		if text := texts[p.PURL]; text != "" {
			line := strings.Repeat("-", 72)
			fmt.Fprintf(&out, "\n%s\n%s %s\n%s\n\n%s\n", line, p.Name, p.Version, line, strings.TrimSpace(text))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
