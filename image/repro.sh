#!/bin/sh
# Builds the image of this commit twice and compares every file: from two clones in
# folders of different names, with a compiler cache each, two time zones, umasks and
# locales. Only the downloaded packages, the trusted root and the signing key are the same.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
out=$top/build/repro
chmod -R u+w "$out" 2>/dev/null || true
rm -rf "$out"
mkdir -p "$out"
[ -z "$(git status --porcelain)" ] || echo "repro: what is not committed is not built"

# built FOLDER: one build, its clone and compiler cache removed behind it.
built() {
	clone=$out/$1
	git clone -q --no-hardlinks "$top" "$clone"
	mkdir -p "$clone/build"
	cp -al "$top/build/cache" "$clone/build/cache"
	(cd "$clone" && GOCACHE=$out/gocache go run ./image build -root "$top/build/depot/metadata/1.root.json" -sign "$top/build/secureboot" -version repro -o "$clone/out") >"$out/log" 2>&1 ||
		{ cat "$out/log"; exit 1; }
	mkdir -p "$out/$2"
	for file in disk.img root.erofs initrd.cpio.zst cmdline a.efi b.efi bom.json licences.txt provenance.json; do
		mv "$clone/out/$file" "$out/$2/"
	done
	rm -rf "$clone"
	GOCACHE=$out/gocache go clean -cache
}
echo "repro: the first build"
(umask 022 && TZ=UTC LC_ALL=C built one first)
echo "repro: the second build"
(umask 077 && TZ=Asia/Kathmandu LC_ALL=C.UTF-8 built another/folder-of-a-longer-name second)

cd "$out"
(cd first && sha256sum -- *) >first.sha256
if (cd second && sha256sum --quiet -c ../first.sha256); then
	cat first.sha256
	echo "repro: both builds are the same, byte by byte"
else
	echo "repro: the builds differ"
	exit 1
fi
