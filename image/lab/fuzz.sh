#!/bin/sh
# Runs every fuzz target for a while: fuzz.sh 10s
# Interesting inputs are not minimised: with seeds of kilobytes that takes all the time.
set -eu
cd "$(dirname "$0")/../.."
time=${1:-10s}
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$dir"/*_test.go); do
		echo "fuzz: $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x "$dir"
	done
done
