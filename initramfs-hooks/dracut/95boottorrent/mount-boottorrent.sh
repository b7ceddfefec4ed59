#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# dracut's hook mount: sourced again and again until something is mounted on $NEWROOT.
# shellcheck disable=SC1091
. /lib/boottorrent-lib.sh

if boottorrent_wanted && ! ismounted "${NEWROOT?}"; then
	boottorrent_boot --root-mnt "$NEWROOT" || boottorrent_failed $?
fi
