# SPDX-License-Identifier: GPL-3.0-or-later
# The trunk port of a switch: `trunk.py TAP TAG PORT PORT`. A machine's frames come as UDP datagrams (QEMU's
# -netdev socket,udp=) to the first port and go to the second; what has the tag is on the switch without it.
# A kernel with bridges that know VLANs would do this, but not every test machine has one.
import fcntl, os, select, socket, struct, sys

name, tag, own, machine = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
wire.bind(("127.0.0.1", own))
header = struct.pack("!HH", 0x8100, tag)
while True:
    for ready in select.select([tap, wire], [], [])[0]:
        if ready is wire:
            frame = wire.recv(65536)
            # IEEE 802.1Q: type 0x8100, then three bits of priority, one more, and the tag.
            if frame[12:14] == b"\x81\x00" and struct.unpack("!H", frame[14:16])[0] & 0xFFF == tag:
                os.write(tap, frame[:12] + frame[16:])
        else:
            frame = os.read(tap, 65536)
            try:
                wire.sendto(frame[:12] + header + frame[12:], ("127.0.0.1", machine))
            except ConnectionRefusedError:
                pass
