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
		mkdir -p /run/systemd/network
		# systemd's generator of networks reads the kernel's own command line only.
		if ! getarg ip= >/dev/null; then
			echo ip=dhcp >>/etc/cmdline.d/95-boottorrent.conf
			printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' >/run/systemd/network/zzzz-boottorrent.network
		fi
		# Before systemd 258 that generator does not know BOOTIF=: it would bring every card up, and whichever answers
		# first would be taken. A management card (iDRAC, iLO) is quick. Static addresses are somebody's own matter.
		mac=$(boottorrent_mac)
		case "$(getarg ip=)" in
		'' | dhcp | on | any)
			if [ -n "$mac" ]; then
				printf '[Match]\nMACAddress=%s\n[Network]\nDHCP=ipv4\n' "$mac" \
					>/run/systemd/network/10-boottorrent.network
				printf '[Match]\nType=ether\n[Link]\nUnmanaged=yes\n' >/run/systemd/network/11-boottorrent.network
			fi
			;;
		esac
		# shellcheck disable=SC2154
		printf '. /lib/boottorrent-lib.sh\n[ -e /run/boottorrent-offline ] || boottorrent_online\n' \
			>"$hookdir/initqueue/finished/boottorrent.sh"
		;;
	esac
fi
