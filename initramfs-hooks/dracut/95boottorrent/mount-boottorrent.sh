#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# dracut's hooks pre-mount and mount. pre-mount, because after it a systemd would mount what root= says by itself:
# when something is on $NEWROOT then, it is content.
# shellcheck disable=SC1091
. /lib/boottorrent-lib.sh

if boottorrent_wanted && ! ismounted "${NEWROOT?}"; then
	# After a failure and an `exit` from the rescue shell: once more.
	until boottorrent_boot --root-mnt "$NEWROOT"; do
		boottorrent_failed $?
	done
fi
