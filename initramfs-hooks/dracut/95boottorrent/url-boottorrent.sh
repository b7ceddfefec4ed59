# shellcheck shell=sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Sourced at the end of dracut's url-lib.sh: root=live:torrent://HOST[:PORT]/PATH.torrent, whose parameters
# the agent finds on the kernel command line by itself. Our handler stands before ctorrent's.

# args: URL [FILE]
boottorrent_fetch_url() {
	# shellcheck disable=SC1091
	. /lib/boottorrent-lib.sh
	boottorrent_boot --medium || return $?
	read -r boottorrent_image </run/boottorrent/medium || return 253
	if [ -z "$2" ]; then
		echo "$boottorrent_image"
	else
		ln -sfn "$boottorrent_image" "$2"
	fi
}

add_url_handler boottorrent_fetch_url torrent
