# shellcheck shell=sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Put the agent, and the script that starts it, into ltsp.img: then images need no other initrd than they have.

boottorrent_main() {
    # LTSP packs its folder common/ as well, where this file is: clients have no use for it.
    re rm -f "${_DST_DIR:?}/usr/share/ltsp/common/initrd/45-boottorrent.sh"
    re boottorrent ltsp initrd "$_DST_DIR"
}
