#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced by dracut again and again while it waits for its root. root=live:CDLABEL=… needs not be told
# where the ISO is: udev finds its label on the loop device.

# A route tells that the network is up, whoever brought it up: dracut's hook initqueue/online is not
# run with systemd-networkd. The first line is the table's head.
boottorrent_online() {
	{ read -r _ && read -r _; } </proc/net/route
}

if [ ! -e /run/boottorrent/medium ] && boottorrent_online; then
	modprobe -b -q -a loop isofs || true
	boottorrent-agent boot </dev/null >/dev/console 2>&1 ||
		die "BootTorrent could not fetch this machine's ISO (exit code $?): the console and /run/boottorrent/agent.log say why."
fi
