# shellcheck shell=sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What our lines in dracut share.

# boot=boottorrent, as with initramfs-tools, or root=boottorrent:[URL], as dracut's own words are.
boottorrent_wanted() {
	[ "$(getarg boot=)" = boottorrent ] && return 0
	case "$(getarg root=)" in
	boottorrent | boottorrent:*) return 0 ;;
	esac
	return 1
}

# The address of the card that the firmware booted from (BOOTIF=01-52-54-…), as /sys has it; nothing without it.
boottorrent_mac() {
	bootif=$(getarg BOOTIF=) || return 0
	echo "${bootif#01-}" | tr 'A-F-' 'a-f:'
}

# Whether the network is up: a route tells, whoever brought it up, but only on that card. dracut's hook
# initqueue/online is not run with systemd-networkd.
boottorrent_online() {
	mac=$(boottorrent_mac)
	while read -r card _; do
		[ -e "/sys/class/net/$card/address" ] || continue
		[ -n "$mac" ] || return 0
		read -r address <"/sys/class/net/$card/address"
		[ "$address" != "$mac" ] || return 0
	done </proc/net/route
	return 1
}

# Run the agent: what it says goes to the console, whatever dracut does with its own output.
# args: those of `boottorrent-agent boot`
boottorrent_boot() {
	# Some are built into some kernels; what is really missing, the agent's mount will say.
	modprobe -b -q -a af_packet loop squashfs erofs overlay ext4 isofs || :
	boottorrent-agent boot "$@" </dev/null >/dev/console 2>&1
}

# As initramfs-tools does: panic=N is a reboot, and no shell for whoever sits there; without it, a shell. What is not a
# number is not a shell either, and not a machine that tries again without a pause.
# args: exit code
boottorrent_failed() {
	warn "BootTorrent could not boot this machine (exit code $1): the line above says why."
	case "$(getarg panic=)" in
	'' | 0) emergency_shell -n boottorrent "BootTorrent could not boot this machine: exit tries again." ;;
	-*) reboot -f ;;
	*[!0-9]*)
		warn "panic=$(getarg panic=) is not a number of seconds: rebooting in 60 s"
		sleep 60
		reboot -f
		;;
	*)
		sleep "$(getarg panic=)"
		reboot -f
		;;
	esac
}
