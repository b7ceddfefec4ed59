#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Puts the BootTorrent agent, and the kernel modules that it needs, into an initrd made by dracut.

agent=/usr/libexec/boottorrent/boottorrent-agent

# Whoever installs this wants it in every initrd: as initramfs-tools' hook, which asks nobody either.
check() {
	[[ -x ${dracutsysrootdir-}$agent ]]
}

depends() {
	echo base network
}

# A machine that boots over the network has other hardware than the one that made its initrd.
installkernel() {
	# crc32c: ext4 asks for it by name at mount time, which no dependency says.
	hostonly='' instmods af_packet loop squashfs erofs overlay ext4 isofs fuse efivarfs crc32c crc32c_generic crc32c_intel
	hostonly='' instmods '=drivers/net/ethernet' '=drivers/net/phy' virtio_net virtio_pci
	configured
	# shellcheck disable=SC2154
	[[ $MKFS != yes ]] || hostonly='' instmods zram lzo_rle
	# shellcheck disable=SC2086
	[[ -z $FILESYSTEMS ]] || hostonly='' instmods $FILESYSTEMS
}

# The same file as for initramfs-tools.
configured() {
	MKFS=no
	FILESYSTEMS=
	# shellcheck disable=SC1091
	[[ ! -e ${dracutsysrootdir-}/etc/boottorrent/initramfs.conf ]] || . "${dracutsysrootdir-}/etc/boottorrent/initramfs.conf"
}

install() {
	# With a key in the initrd, only what it has signed boots; with an authority's certificate, the agent speaks HTTPS (and
	# is a megabyte larger). One that cannot be copied must not be missed in silence.
	local file which=$agent
	for file in "${dracutsysrootdir-}"/etc/boottorrent/{keys/*.pub,ca/*.crt}; do
		[[ -e $file ]] || continue
		inst_simple "${file#"${dracutsysrootdir-}"}" || exit 1
		[[ $file != *.crt ]] || which=$agent-tls
	done
	inst_simple "$which" /usr/bin/boottorrent-agent
	# shellcheck disable=SC2154
	inst_simple "$moddir/boottorrent-lib.sh" /lib/boottorrent-lib.sh
	inst_hook cmdline 28 "$moddir/parse-boottorrent.sh"
	inst_hook initqueue/timeout 50 "$moddir/timeout-boottorrent.sh"
	inst_hook pre-mount 90 "$moddir/mount-boottorrent.sh"
	inst_hook mount 50 "$moddir/mount-boottorrent.sh"
	# dracut's library of downloads, which live systems have: it learns what torrent:// is.
	# shellcheck disable=SC2154
	if dracut_module_included url-lib && ! grep -qs boottorrent "$initdir/lib/url-lib.sh"; then
		inst_simple "$moddir/url-boottorrent.sh" /lib/boottorrent-url.sh
		echo '. /lib/boottorrent-url.sh' >>"$initdir/lib/url-lib.sh"
	fi
	configured
	# With a line for each default that mkfs.ext4 takes from there.
	[[ $MKFS != yes ]] || inst_multiple mkfs.ext4 /etc/mke2fs.conf
	dracut_need_initqueue
}
