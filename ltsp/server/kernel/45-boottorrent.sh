# shellcheck shell=sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Publish what is new of the images. `ltsp image` and its --revert call `ltsp kernel` when the image is in its
# place, and so does an admin who has put one there. Before the kernel is copied: hashing takes its time, and until
# it is done machines get the version before, with the kernel before.

boottorrent_main() {
    re boottorrent ltsp publish --base-dir "$BASE_DIR" --tftp-dir "$TFTP_DIR" "$@"
}
