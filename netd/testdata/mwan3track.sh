#!/bin/sh
# The tracker of OpenWrt's mwan3 (2.12, mwan3track) at its default settings, reduced
# to its method: a round of pings through one device every 10 seconds, one ping a
# host, 4 seconds for its answer, a round succeeds with 2 hosts; 5 failed rounds:
# down, 5 good ones: up.
#
#   mwan3track.sh DEVICE HOOK HOST...    calls HOOK down, HOOK up
#
# As netifd tells mwan3, a lost carrier is down at once.
interval=10 timeout=4 count=1 reliability=2 down=5 up=5
dev=$1 hook=$2
shift 2
score=$((down + up))

while ip link show dev "$dev" | grep -q LOWER_UP; do
	sleep 0.1
done && $hook down &

while :; do
	answered=0
	for host; do
		[ "$answered" -lt "$reliability" ] || break
		ping -n -q -c "$count" -W "$timeout" -s 56 -t 60 -I "$dev" "$host" >/dev/null 2>&1 && answered=$((answered + 1))
	done
	if [ "$answered" -lt "$reliability" ]; then
		score=$((score - 1))
		if [ "$score" -eq "$up" ]; then
			$hook down
			score=0
		elif [ "$score" -lt "$up" ]; then
			score=0
		fi
	else
		score=$((score + 1))
		if [ "$score" -eq "$up" ]; then
			$hook up
		fi
		[ "$score" -le "$up" ] || score=$((down + up))
	fi
	sleep $interval
done
