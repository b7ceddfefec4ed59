#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced by dracut when an interface has come up. root=live:CDLABEL=… needs not be told where the ISO
# is: udev finds its label on the loop device.

if [ ! -e /run/boottorrent/medium ]; then
	modprobe -b -q -a loop isofs || true
	boottorrent-agent boot </dev/null >/dev/console 2>&1 ||
		die "BootTorrent could not fetch this machine's ISO (exit code $?): the console and /run/boottorrent/agent.log say why."
fi
