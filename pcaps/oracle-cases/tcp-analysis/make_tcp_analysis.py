#!/usr/bin/env python3
"""Writes what tshark's TCP analysis says of captures: one line per file and sender that it remarks on.

    python3 make_tcp_analysis.py ../*.pcap ../*.pcapng ../*.gz > tcp-analysis.tsv

Only frames whose outermost IP packet is TCP, the only thing a flow is made of here. Counts of a sender are over all its
connections with the same address and port at the other end.
"""
import collections
import os
import subprocess
import sys
import tempfile

WORDS = ["retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "keep_alive",
         "zero_window", "ack_lost_segment", "lost_segment"]
FIELDS = ["frame.protocols", "ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport"]
NETWORK = {"ip", "ipv6"}
EXTENSIONS = {"ipv6.hopopts", "ipv6.dstopts", "ipv6.routing", "ipv6.fraghdr", "ah"}


def rows(path, environment):
    command = ["tshark", "-n", "-r", path, "-Y", "tcp", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f"]
    for field in FIELDS + ["tcp.analysis." + word for word in WORDS]:
        command += ["-e", field]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    counts = collections.defaultdict(lambda: [0] * len(WORDS))
    for line in said.splitlines():
        protocols, v4, v6, port, to_v4, to_v6, to_port, *marks = line.split("\t")
        layers = protocols.split(":")
        below = layers[:layers.index("tcp")]
        if not v4:
            # IPv6 where the link says IPv4: named so, and no packet of its own.
            below = [layer for layer in below if layer != "ip"]
        packets = [place for place, layer in enumerate(below) if layer in NETWORK]
        if len(packets) != 1 or not EXTENSIONS.issuperset(below[packets[0] + 1:]):
            continue
        sender = (v4 or v6, int(port), to_v4 or to_v6, int(to_port))
        for index, mark in enumerate(marks):
            counts[sender][index] += mark != ""
    return {sender: numbers for sender, numbers in sorted(counts.items()) if any(numbers)}


def main():
    with tempfile.TemporaryDirectory() as profile:
        environment = dict(os.environ, WIRESHARK_CONFIG_DIR=profile)
        print("\t".join(["file", "from", "from_port", "to", "to_port"] + WORDS))
        for path in sys.argv[1:]:
            for sender, numbers in rows(path, environment).items():
                print("\t".join([os.path.basename(path)] + [str(value) for value in sender + tuple(numbers)]))


main()
