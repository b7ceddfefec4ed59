#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# dracut's hook cmdline: tells dracut that the root is ours, and that it needs the network.
# shellcheck disable=SC1091
. /lib/boottorrent-lib.sh

if boottorrent_wanted; then
	# shellcheck disable=SC2034
	root=boottorrent rootok=1
	case "$(getarg ip=)" in
	off | none) ;;
	*)
		echo rd.neednet=1 >/etc/cmdline.d/95-boottorrent.conf
		# systemd's generator of networks reads the kernel's own command line only.
		if ! getarg ip= >/dev/null; then
			echo ip=dhcp >>/etc/cmdline.d/95-boottorrent.conf
			mkdir -p /run/systemd/network
			printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' >/run/systemd/network/zzzz-boottorrent.network
		fi
		# A route tells that the network is up, whoever brought it up: dracut's hook initqueue/online is
		# not run with systemd-networkd. The first line is the table's head.
		# shellcheck disable=SC2154
		echo '[ -e /run/boottorrent-offline ] || { read -r _ && read -r _; } </proc/net/route' \
			>"$hookdir/initqueue/finished/boottorrent.sh"
		;;
	esac
fi
