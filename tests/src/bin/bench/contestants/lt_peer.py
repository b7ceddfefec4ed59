# SPDX-License-Identifier: GPL-3.0-or-later
"""libtorrent for the benchmark: seed|fetch DONE TORRENT DIR.

Fetches into (or seeds from) DIR until it is killed; makes the file DONE when it has everything.
"""
import sys

import libtorrent as lt

role, done, torrent, folder = sys.argv[1:]

session = lt.session({
    "listen_interfaces": "0.0.0.0:6981",
    # One switch, a tracker, nobody else.
    "enable_dht": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_lsd": True,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "allow_multiple_connections_per_ip": True,
    # Everybody gets from everybody: fixed slots, without limit.
    "choking_algorithm": 0,
    "unchoke_slots_limit": -1,
    "rate_limit_ip_overhead": False,
    # All find each other at once.
    "connections_limit": 500,
    "connection_speed": 500,
    "torrent_connect_boost": 255,
    "announce_to_all_trackers": True,
    "announce_to_all_tiers": True,
    # As in libtorrent's own preset for fast seeding.
    "send_buffer_watermark": 3 << 20,
    "send_buffer_watermark_factor": 150,
    "send_buffer_low_watermark": 512 << 10,
    "max_out_request_queue": 1500,
    "max_allowed_in_request_queue": 2000,
    "max_queued_disk_bytes": 64 << 20,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
})

params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.flags = lt.torrent_flags.update_subscribe
if role == "seed":
    params.flags |= lt.torrent_flags.seed_mode
session.add_torrent(params)

finished = False
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.torrent_finished_alert) and role == "fetch" and not finished:
            finished = True
            open(done, "w").close()
        elif isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert, lt.listen_failed_alert)):
            print(alert.message(), flush=True)
