#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# dracut's hook initqueue/timeout: no network came. The agent says so, or boots what a disk has kept.
: >/run/boottorrent-offline
