#!/bin/sh
# Installs what packages.txt lists and this machine lacks, and the npm modules of
# the EHR, of a tus client, of a SMART app and
# of what checks the clinic's page. Root is needed for the packages alone, and asked for once.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin

missing=$(sed 's/#.*//' image/lab/packages.txt | while read -r package program; do
	[ -n "$package" ] || continue
	if [ -n "$program" ] && command -v "$program" >/dev/null; then continue; fi
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
	*"ok installed") ;;
	*) echo "$package" ;;
	esac
done)

if [ -n "$missing" ]; then
	echo "deps: these Debian packages are missing (of image/lab/packages.txt):"
	echo "$missing" | sed 's/^/  /'
	sudo=
	if [ "$(id -u)" != 0 ]; then
		sudo=sudo
		echo "deps: installing them needs root; sudo may ask for your password"
	fi
	# Services among them are for the labs to start, not for this machine:
	# RUNLEVEL=1 tells the maintainer scripts so.
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q update
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q install -y --no-install-recommends $missing
fi

# modules FOLDER INTO [FLAG...]: npm's modules of a lock file.
modules() {
	from=$1 into=$2
	shift 2
	if cmp -s "$from/package-lock.json" "$into/.installed"; then return; fi
	echo "deps: installing the npm modules of $from into $into"
	mkdir -p "$into"
	cp "$from/package.json" "$from/package-lock.json" "$into/"
	(cd "$into" && npm ci --no-audit --no-fund --loglevel=error "$@")
	cp "$from/package-lock.json" "$into/.installed"
}
modules image/lab/ehr build/lab/ehr
modules syncd/upload/testdata/tusclient build/lab/tusclient
# fhirclient's optional modules are for phones: 270 MB of them.
modules cardauth/testdata/browser build/lab/browser --omit=optional --legacy-peer-deps --ignore-scripts
modules firmware/panel/testdata/browser build/lab/page --ignore-scripts
modules syncd/testdata/clients build/lab/fhirclients --omit=optional --legacy-peer-deps --ignore-scripts
echo "deps: all there"
