# shellcheck shell=sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Put our lines into the menu that `ltsp ipxe` has just made, if any image is enabled.

boottorrent_main() {
    re boottorrent ltsp ipxe --base-dir "$BASE_DIR" --tftp-dir "$TFTP_DIR"
}
