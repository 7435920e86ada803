#!/bin/sh
# Installs what packages.txt lists and this machine lacks, and the EHR's npm
# modules. Root is needed for the packages alone, and asked for once.
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

ehr=build/lab/ehr
if ! cmp -s image/lab/ehr/package-lock.json "$ehr/.installed"; then
	echo "deps: installing the EHR's npm modules into $ehr"
	mkdir -p "$ehr"
	cp image/lab/ehr/package.json image/lab/ehr/package-lock.json "$ehr/"
	(cd "$ehr" && npm ci --no-audit --no-fund --loglevel=error)
	cp image/lab/ehr/package-lock.json "$ehr/.installed"
fi
echo "deps: all there"
