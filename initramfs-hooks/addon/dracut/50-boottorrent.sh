#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced by dracut again and again while it waits for its root. root=live:CDLABEL=… needs not be told
# where the ISO is: udev finds its label on the loop device.

# Whether the network is up: a route tells, whoever brought it up, on the card that the firmware booted from
# (BOOTIF=01-52-54-…) where that is known. dracut's hook initqueue/online is not run with systemd-networkd.
boottorrent_online() {
	mac=$(getarg BOOTIF=) && mac=$(echo "${mac#01-}" | tr 'A-F-' 'a-f:')
	while read -r card _; do
		[ -e "/sys/class/net/$card/address" ] || continue
		[ -n "$mac" ] || return 0
		read -r address <"/sys/class/net/$card/address"
		[ "$address" != "$mac" ] || return 0
	done </proc/net/route
	return 1
}

if [ ! -e /run/boottorrent/medium ] && boottorrent_online; then
	modprobe -b -q -a loop isofs || true
	boottorrent-agent boot </dev/null >/dev/console 2>&1 ||
		die "BootTorrent could not fetch this machine's ISO (exit code $?): the console and /run/boottorrent/agent.log say why."
fi
