#!/usr/bin/env python3
"""Writes the captures of this folder that no other project publishes (`own-*.pcap`), the same bytes each time.

Addresses are those for documentation. Each file holds what its row of MANIFEST.tsv names.
"""

import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
ETHERNET = bytes.fromhex("020000000002020000000001")
CLIENT, SERVER = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2])
CLIENT_6 = bytes.fromhex("20010db8000000000000000000000001")
SERVER_6 = bytes.fromhex("20010db8000000000000000000000002")
TCP = struct.pack(">HHIIBBHHH", 40000, 443, 1, 0, 0x50, 2, 1000, 0, 0)
UDP = struct.pack(">HHHH", 50000, 53, 12, 0) + b"data"


def ipv4(protocol, payload, ttl=64):
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, ttl, protocol, 0, CLIENT, SERVER) + payload


def ipv6(protocol, payload, length=None):
    length = len(payload) if length is None else length
    return struct.pack(">IHBB16s16s", 6 << 28, length, protocol, 64, CLIENT_6, SERVER_6) + payload


def ethernet(ethertype, payload):
    return ETHERNET + struct.pack(">H", ethertype) + payload


def extension(kind, following):
    """One extension header of 16 bytes (AH: 12, fragment header: 8)."""
    if kind == 44:
        return struct.pack(">BBHI", following, 0, 0, 7)
    if kind == 51:
        return struct.pack(">BBHII", following, 1, 0, 9, 9)
    if kind == 43:
        return struct.pack(">BBBBI8s", following, 1, 253, 0, 0, bytes(8))
    return bytes([following, 1, 1, 12]) + bytes(12)


def write(name, frames, link=1):
    """`frames` are bytes, or pairs of bytes and how many of them the snaplen kept."""
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link))
        for number, frame in enumerate(frames):
            whole, kept = frame if isinstance(frame, tuple) else (frame, len(frame))
            f.write(struct.pack("<IIII", 1700000000 + number, number, kept, len(whole)) + whole[:kept])


def main():
    six = ipv6(6, TCP)
    gre = lambda kind: ipv4(47, struct.pack(">HH", 0, kind) + six)
    vxlan = ipv4(17, struct.pack(">HHHH", 55555, 4789, 16 + 14 + len(six), 0) + bytes([8, 0, 0, 0, 0, 0, 42, 0])
                 + ethernet(0x0800, six))
    write("own-ipv6-called-ipv4.pcap", [
        ethernet(0x0800, six), ethernet(0x86DD, six), ethernet(0x86DD, ipv4(6, TCP)),
        ethernet(0x0800, b"\x35" + ipv4(6, TCP)[1:]), ethernet(0x8100, struct.pack(">HH", 5, 0x0800) + six),
        ethernet(0x0800, gre(0x0800)), ethernet(0x0800, gre(0x86DD)), ethernet(0x0800, ipv4(4, six)),
        ethernet(0x0800, ipv4(41, ipv4(6, TCP))), ethernet(0x0800, vxlan),
    ])
    write("own-ipv6-called-ipv4-cooked.pcap", [
        struct.pack(">HHH8sH", way, 1, 6, bytes.fromhex("0200000000010000"), kind) + packet
        for way, kind, packet in ((0, 0x0800, six), (4, 0x0800, six), (0, 0x86DD, six), (0, 0x0800, ipv4(6, TCP)))
    ], link=113)
    write("own-ipv6-extension-cut.pcap", [
        (frame, len(frame) - len(TCP) - missing)
        for kind in (0, 43, 44, 60, 51)
        for frame in [ethernet(0x86DD, ipv6(kind, extension(kind, 6) + TCP))]
        for missing in range(len(extension(kind, 6)) + 1)
    ] + [
        (frame, len(frame) - missing)
        for frame in [ethernet(0x86DD, ipv6(60, extension(60, 43) + extension(43, 44) + extension(44, 17) + UDP))]
        for missing in range(0, 54, 3)
    ] + [
        (frame, len(frame) - len(TCP) - missing)
        for frame in [ethernet(0x0800, ipv4(51, extension(51, 6) + TCP))]
        for missing in range(13)
    ])
    write("own-ipv6-length-zero.pcap", [
        ethernet(0x86DD, ipv6(6, TCP, 0)), ethernet(0x86DD, ipv6(17, UDP, 0)), ethernet(0x86DD, ipv6(59, b"", 0)),
        ethernet(0x86DD, ipv6(44, extension(44, 17) + UDP, 0)), ethernet(0x86DD, ipv6(6, TCP)),
        ethernet(0x86DD, ipv6(60, extension(60, 6) + TCP, 0)), ethernet(0x86DD, ipv6(58, bytes(8), 0)),
    ])
    families = (2, 7, 10, 23, 24, 28, 30)
    write("own-null-families.pcap", [
        struct.pack(order + "I", family) + (ipv4(6, TCP) if family == 2 else six)
        for order in "<>" for family in families
    ], link=0)
    tag, label = struct.pack(">HH", 5, 0x8100), struct.pack(">I", 16 << 12 | 64)
    bottom = struct.pack(">I", 17 << 12 | 1 << 8 | 64)
    write("own-deep-but-finite.pcap", [
        ethernet(0x8100, tag * (count - 1) + struct.pack(">HH", 5, 0x0800) + ipv4(6, TCP)) for count in (1, 16, 17, 19, 20)
    ] + [
        ethernet(0x8847, label * count + bottom + ipv4(17, UDP)) for count in (0, 16, 40, 100)
    ] + [
        ethernet(0x86DD, ipv6(60, extension(60, 60) * count + extension(60, 6) + TCP)) for count in (0, 15, 16, 40, 100)
    ])


if __name__ == "__main__":
    main()
