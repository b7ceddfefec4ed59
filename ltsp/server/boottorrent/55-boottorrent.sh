# shellcheck shell=sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The applet: ltsp boottorrent [enable|disable|status] [IMAGE…]

boottorrent_cmdline() {
    args=$(getopt -n "ltsp $_APPLET" -o "p" -l "pilot" -- "$@") || usage 1
    eval "set -- $args"
    pilot=
    while true; do
        case "$1" in
            -p | --pilot) pilot=1 ;;
            --) shift; break ;;
            *) die "ltsp $_APPLET: error in cmdline: $*" ;;
        esac
        shift
    done
    run_main_functions "$_SCRIPTS" "$@"
}

boottorrent_main() {
    action=${1:-status}
    test "$#" -eq 0 || shift
    case "$action" in
        enable)
            re boottorrent ltsp enable --base-dir "$BASE_DIR" --tftp-dir "$TFTP_DIR" ${pilot:+--pilot} "$@"
            re "$0" -b "$BASE_DIR" -t "$TFTP_DIR" initrd
            ;;
        disable)
            re boottorrent ltsp disable --base-dir "$BASE_DIR" --tftp-dir "$TFTP_DIR" "$@"
            re "$0" -b "$BASE_DIR" -t "$TFTP_DIR" initrd
            ;;
        status) re boottorrent ltsp status --base-dir "$BASE_DIR" --tftp-dir "$TFTP_DIR" ;;
        *) usage 1 ;;
    esac
}
