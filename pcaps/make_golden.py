#!/usr/bin/env python3
"""Write the synthetic golden captures: one folder, one claim.

    make_golden.py [DIRECTORY]

Each folder gets its capture, its roster and totals.tsv: what the generator itself sent, edge by edge, added up while
it wrote the frames. Running it again gives the same bytes. Own work; standard library only.

A capture is what `dumpcap -i any -y LINUX_SLL2` shows on a Docker host: a frame from one container to another comes
in by its sender's veth and goes out by its receiver's; what the host sends goes out by the bridge first; what it
receives comes in by the veth and then by the bridge. Addresses outside the containers' are of RFC 5737.
"""

import json
import os
import socket
import struct
import sys

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
START = 1763640000 * 10**9                      # 2025-11-20T12:00:00Z
HOST, OTHERHOST, OUTGOING = 0, 3, 4             # packet(7)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TCP, UDP = 6, 17
WORDS = {TCP: "tcp", UDP: "udp"}


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip4(source, target, protocol, payload, ident, offset=0, more=False):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, offset // 8 | more << 13, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def pseudo(source, target, protocol, length):
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack(">BBH", 0, protocol, length)


def tcp(source, sport, target, dport, flags, seq, ack, payload=b""):
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 64240, 0, 0)
    total = checksum(pseudo(source, target, TCP, 20 + len(payload)) + head + payload)
    return head[:16] + struct.pack(">H", total) + head[18:] + payload


def udp(source, sport, target, dport, payload):
    head = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    total = checksum(pseudo(source, target, UDP, 8 + len(payload)) + head + payload)
    return head[:6] + struct.pack(">H", total or 0xFFFF) + payload


class Container:
    def __init__(self, service, address, index, ports=(), project="shop"):
        self.service, self.address, self.index, self.ports, self.project = service, address, index, ports, project
        self.name = "%s-%s-1" % (project, service)
        self.mac = bytes([0x02, 0x42]) + socket.inet_aton(address)


class Lab:
    """One network with its bridge, and what is captured on the host."""

    gateway = "172.20.0.1"
    bridge = 4
    network, subnet = "shop_front", "172.20.0.0/24"
    bridge_mac = bytes.fromhex("024256fb44f9")

    def __init__(self, *containers):
        self.containers = {c.service: c for c in containers}
        self.frames, self.now, self.ident, self.edges, self.counted = [], START, 0, {}, [0, 0]
        self.port = 40000

    # --- frames ------------------------------------------------------------

    def sighting(self, index, kind, mac, packet, protocol=0x0800):
        head = struct.pack(">HHIHBB6sH", protocol, 0, index, 1, kind, 6, mac, 0)
        self.frames.append((self.now, head + packet))
        self.now += 5_000

    def put(self, sender, receiver, packet, edge=None, side=0):
        """Sends a packet. An end is a container, or None for the host and all behind it."""
        if sender:
            self.sighting(sender.index, OTHERHOST, sender.mac, packet)
            mac = sender.mac
            if not receiver:
                self.sighting(self.bridge, HOST, mac, packet)
        else:
            self.sighting(self.bridge, OUTGOING, self.bridge_mac, packet)
            mac = self.bridge_mac
        if receiver:
            self.sighting(receiver.index, OUTGOING, mac, packet)
        wire = 14 + len(packet)
        self.counted[0] += 1
        self.counted[1] += wire
        if edge:
            row = self.edges.setdefault(edge, [0] * 7)
            row[2 * side] += 1
            row[2 * side + 1] += wire

    def wait(self, milliseconds):
        self.now += milliseconds * 1_000_000

    def packet(self, source, target, protocol, payload):
        self.ident = self.ident + 1 & 0xFFFF
        return ip4(source, target, protocol, payload, self.ident)

    # --- conversations -----------------------------------------------------

    def connection(self, initiator, responder, port, edge, source=None, target=None, opened=True, closed=True,
                   outcome="answered", exchanges=1, request=100, response=1000, sport=None):
        """One TCP connection; without `opened` it began before the capture."""
        source, target = source or initiator.address, target or responder.address
        if sport is None:
            self.port += 1
            sport = self.port

        seq = [1000 * (sport - 30000), 7000 * (sport - 30000)]

        def send(side, flags, payload=b""):
            ends = [(initiator, source, sport), (responder, target, port)]
            (a, from_, p), (b, to, q) = ends[side], ends[1 - side]
            ack = seq[1 - side] if flags & ACK else 0
            self.put(a, b, self.packet(from_, to, TCP, tcp(from_, p, to, q, flags, seq[side], ack, payload)),
                     edge, side)
            seq[side] += len(payload) + (1 if flags & (SYN | FIN) else 0)

        if opened:
            send(0, SYN)
            if outcome == "unanswered":
                self.edges[edge][6] += 1
                return
            send(1, SYN | ACK if outcome == "answered" else RST | ACK)
            if outcome == "refused":
                self.edges[edge][5] += 1
                return
            send(0, ACK)
        for _ in range(exchanges):
            send(0, PSH | ACK, b"q" * request)
            send(1, PSH | ACK, b"a" * response)
            send(0, ACK)
            self.wait(20)
        if closed:
            send(0, FIN | ACK)
            send(1, FIN | ACK)
            send(0, ACK)
        self.edges[edge][4] += 1
        self.wait(50)

    def arp(self, sender, target):
        """A question who holds an address (RFC 826), by broadcast, and the answer where a container holds it."""
        def message(operation, mac, address, other_mac, other):
            return struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac, socket.inet_aton(address), other_mac,
                               socket.inet_aton(other))

        def send(container, packet):
            self.sighting(container.index, 1 if packet[7] == 1 else OTHERHOST, container.mac, packet, 0x0806)
            self.counted[0] += 1
            self.counted[1] += 14 + len(packet)

        send(sender, message(1, sender.mac, sender.address, bytes(6), target))
        for answering in self.containers.values():
            if answering.address == target:
                send(answering, message(2, answering.mac, target, sender.mac, sender.address))
        self.wait(40)

    def exchange(self, initiator, responder, port, edge):
        """One question and its answer by UDP."""
        self.port = 40000 + (self.port - 40000 + 1) % 20000
        self.put(initiator, responder, self.packet(initiator.address, responder.address, UDP,
                                                   udp(initiator.address, self.port, responder.address, port, b"q")), edge, 0)
        self.put(responder, initiator, self.packet(responder.address, initiator.address, UDP,
                                                   udp(responder.address, port, initiator.address, self.port, b"a")), edge, 1)
        self.edges[edge][4] += 1

    # --- files -------------------------------------------------------------

    def write(self, case, roster=None, totals=True):
        folder = os.path.join(OUT, case)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "capture.pcapng"), "wb") as out:
            out.write(self.pcapng())
        with open(os.path.join(folder, roster or "roster.toml"), "w") as out:
            out.write(self.roster(addresses=roster is None))
        with open(os.path.join(folder, "totals.tsv"), "w") as out:
            out.write("\t".join(["initiator", "responder", "port", "protocol", "sent_frames", "sent_bytes",
                                 "received_frames", "received_bytes", "answered", "refused", "unanswered"]) + "\n")
            for edge in sorted(self.edges) if totals else []:
                out.write("\t".join(map(str, [*edge, *self.edges[edge]])) + "\n")
            out.write("\t".join(map(str, ["captured", "", "", "", len(self.frames), self.captured_bytes(), "", "", "", "",
                                          ""])) + "\n")
            out.write("\t".join(map(str, ["counted", "", "", "", *self.counted, "", "", "", "", ""])) + "\n")

    def captured_bytes(self):
        return sum(len(frame) - 20 + 14 for _, frame in self.frames)

    def pcapng(self):
        def block(kind, body):
            body += b"\0" * (-len(body) % 4)
            size = struct.pack("<I", 12 + len(body))
            return struct.pack("<I", kind) + size + body + size

        def option(code, value):
            return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)

        out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        out += block(1, struct.pack("<HHI", 276, 0, 65535) + option(2, b"any") + option(9, b"\x09") + option(0, b""))
        for at, frame in self.frames:
            head = struct.pack("<IIIII", 0, at >> 32, at & 0xFFFFFFFF, len(frame), len(frame))
            out += block(6, head + frame)
        counts = option(4, struct.pack("<Q", len(self.frames))) + option(5, struct.pack("<Q", 0))
        counts += option(7, struct.pack("<Q", 0)) + option(0, b"")
        return out + block(5, struct.pack("<III", 0, self.now >> 32, self.now & 0xFFFFFFFF) + counts)

    def roster(self, addresses):
        mac = lambda raw: ":".join("%02x" % byte for byte in raw)
        rows = ["# Written by make_golden.py.\n"]
        if addresses:
            rows.append('[[network]]\nname = "%s"\nsubnets = ["%s"]\ngateways = ["%s"]\n'
                        % (self.network, self.subnet, self.gateway))
        rows.append('[[interface]]\nindex = %d\nname = "br-%s"\nrole = "bridge"\nnetwork = "%s"\nmac = "%s"\n'
                    % (self.bridge, self.network.split("_")[-1], self.network, mac(self.bridge_mac)))
        for c in self.containers.values():
            rows.append('[[interface]]\nindex = %d\nname = "veth%d"\nrole = "container"\nnetwork = "%s"\n'
                        'container = "%s"\n' % (c.index, c.index, self.network, c.name))
            if addresses:
                ports = '\nports = [%s]' % ", ".join('"%s"' % port for port in c.ports) if c.ports else ""
                rows.append('[[address]]\naddress = "%s"\nnetwork = "%s"\ncontainer = "%s"\nproject = "%s"\n'
                            'service = "%s"\nimage = "%s/%s:1"%s\n'
                            % (c.address, self.network, c.name, c.project, c.service, c.project, c.service, ports))
        rows.append('[[host]]\naddresses = ["198.51.100.1"]\n')
        return "\n".join(rows)


def edge(initiator, responder, port, protocol="tcp"):
    full = lambda end: end if end in ("host", "external", "multicast", "unclaimed") or "/" in end else "shop/" + end
    return full(initiator), full(responder), port, protocol


def undocumented_debug_port():
    web, cart = Container("web", "172.20.0.4", 17), Container("cart", "172.20.0.3", 13, ["8080/tcp"])
    lab = Lab(web, cart)
    for _ in range(5):
        lab.connection(web, cart, 8080, edge("web", "cart", 8080))
    lab.connection(web, cart, 9229, edge("web", "cart", 9229), request=90, response=300)
    for _ in range(2):
        lab.connection(web, cart, 9230, edge("web", "cart", 9230), outcome="refused")
    lab.write("undocumented-debug-port")


def spoofed_source():
    cart, db = Container("cart", "172.20.0.3", 13, ["8080/tcp"]), Container("db", "172.20.0.5", 11, ["5432/tcp"])
    reports = Container("reports", "172.20.0.7", 31)
    lab = Lab(cart, db, reports)
    for _ in range(2):
        lab.connection(cart, db, 5432, edge("cart", "db", 5432))
    forged = edge("reports", "cart", 8080)
    for attempt in range(10):
        sport, seq = 50000 + attempt, 10_000 * (attempt + 1)
        syn = tcp(db.address, sport, cart.address, 8080, SYN, seq, 0)
        lab.put(reports, cart, lab.packet(db.address, cart.address, TCP, syn), forged, 0)
        lab.edges[forged][6] += 1
        # The answers it provokes: cart to the one it was told, who knows nothing of it.
        answer = tcp(cart.address, 8080, db.address, sport, SYN | ACK, 77, seq + 1)
        lab.put(cart, db, lab.packet(cart.address, db.address, TCP, answer))
        reset = tcp(db.address, sport, cart.address, 8080, RST, seq + 1, 0)
        lab.put(db, cart, lab.packet(db.address, cart.address, TCP, reset))
        lab.wait(30)
    # Nobody holds this one: unlisted, and no forgery of anybody's.
    stray = udp("172.20.0.99", 50100, cart.address, 8080, b"s" * 40)
    lab.put(reports, cart, lab.packet("172.20.0.99", cart.address, UDP, stray), edge("reports", "cart", 8080, "udp"))
    lab.edges[edge("reports", "cart", 8080, "udp")][6] = 1
    # Asking for an address, one has none.
    ask = udp("0.0.0.0", 68, "255.255.255.255", 67, b"d" * 240)
    everybody = edge("reports", "multicast", 67, "udp")
    lab.put(reports, None, lab.packet("0.0.0.0", "255.255.255.255", UDP, ask), everybody)
    lab.edges[everybody][6] = 1
    lab.write("spoofed-source")


def open_before_start():
    cart, db = Container("cart", "172.20.0.3", 13), Container("db", "172.20.0.5", 11, ["5432/tcp"])
    batch, cache = Container("batch", "172.20.0.8", 27), Container("cache", "172.20.0.6", 25)
    web, ledger = Container("web", "172.20.0.4", 17), Container("ledger", "172.20.0.9", 29)
    reports = Container("reports", "172.20.0.7", 31)
    lab = Lab(cart, db, batch, cache, web, ledger, reports)
    # The documented port says who serves.
    lab.connection(cart, db, 5432, edge("cart", "db", 5432), opened=False, exchanges=10)
    # Nothing says it yet, and a flow keeps the role it was given.
    lab.connection(batch, cache, 6379, edge("batch", "cache", 6379), opened=False, closed=False, exchanges=3,
                   sport=39000)
    lab.wait(1500)
    lab.connection(web, cache, 6379, edge("web", "cache", 6379))
    lab.connection(batch, cache, 6379, edge("batch", "cache", 6379), opened=False, exchanges=2, sport=39000)
    lab.edges[edge("batch", "cache", 6379)][4] -= 1
    # Silent until web's handshake had shown that cache serves this port.
    lab.connection(reports, cache, 6379, edge("reports", "cache", 6379), opened=False, exchanges=2, sport=39100)
    # Two ports of the kind clients are given, and no handshake: who serves is a guess.
    lab.connection(web, ledger, 45001, edge("web", "ledger", 45001), opened=False, closed=False, exchanges=2,
                   sport=45000)
    lab.write("open-before-start")


def published_port():
    web, batch = Container("web", "172.20.0.4", 17), Container("batch", "172.20.0.8", 27)
    lab = Lab(web, batch)
    outside = edge("external", "web", 80)
    for attempt in range(3):
        # From outside: the address is translated, the bridge shows the caller's own.
        lab.connection(None, web, 80, outside, source="198.51.100.2")
    for attempt in range(4):
        # From a container: docker-proxy takes the call and makes one of its own. Both are on the wire.
        lab.connection(batch, None, 8080, edge("batch", "web", 80), target="198.51.100.1", sport=41000 + attempt)
        lab.connection(None, web, 80, edge("host", "web", 80), source=lab.gateway, sport=52000 + attempt)
    lab.write("published-port-through-docker-proxy", roster="interfaces.toml")
    published = [{"HostIp": "0.0.0.0", "HostPort": "8080"}]

    def container(c, exposed, ports, number):
        return {
            "Id": "%064x" % number, "Name": "/" + c.name, "Created": "2025-11-20T11:00:00Z",
            "State": {"Status": "running", "Running": True, "Pid": 1000 + number, "StartedAt": "2025-11-20T11:00:00Z",
                      "FinishedAt": "0001-01-01T00:00:00Z"},
            "Image": "sha256:%064x" % (100 + number),
            "Config": {"Image": "shop/%s:1" % c.service, "ExposedPorts": exposed,
                       "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": c.service}},
            "HostConfig": {"NetworkMode": "shop_front", "PortBindings": ports},
            "NetworkSettings": {"Ports": ports, "Networks": {"shop_front": {
                "NetworkID": "%064x" % 7, "IPAddress": c.address, "IPPrefixLen": 24, "Gateway": lab.gateway,
                "MacAddress": ":".join("%02x" % byte for byte in c.mac)}}},
        }

    network = {"Id": "%064x" % 7, "Name": "shop_front", "Driver": "bridge", "Scope": "local",
               "IPAM": {"Config": [{"Subnet": "172.20.0.0/24", "Gateway": lab.gateway}]},
               "Options": {"com.docker.network.bridge.name": "br-front"}, "Containers": {}}
    inspected = [container(web, {"80/tcp": {}}, {"80/tcp": published}, 1), container(batch, None, {}, 2), network]
    path = os.path.join(OUT, "published-port-through-docker-proxy", "docker-inspect.json")
    with open(path, "w") as out:
        json.dump(inspected, out, indent=1)
        out.write("\n")


def fragments():
    web, metrics = Container("web", "172.20.0.4", 17), Container("metrics", "172.20.0.6", 23, ["7000/udp"])
    lab = Lab(web, metrics)
    there = edge("web", "metrics", 7000, "udp")

    def pieces(size):
        lab.ident += 1
        whole = udp(web.address, 43000, metrics.address, 7000, b"f" * size)
        cuts = range(0, len(whole), 1480)
        return [ip4(web.address, metrics.address, UDP, whole[at:at + 1480], lab.ident, at, at + 1480 < len(whole))
                for at in cuts]

    for _ in range(3):
        for piece in pieces(4000):
            lab.put(web, metrics, piece, there, 0)
        answer = udp(metrics.address, 7000, web.address, 43000, b"ok")
        lab.put(metrics, web, lab.packet(metrics.address, web.address, UDP, answer), there, 1)
        lab.wait(100)
    lab.edges[there][4] = 1
    # Last piece first: the ports stand in the first alone. Two pieces come before it.
    late = edge("web", "metrics", 0, "udp")
    *rest, first = reversed(pieces(4000))
    for piece in rest:
        lab.put(web, metrics, piece, late, 0)
    lab.put(web, metrics, first, there, 0)
    # The first piece never comes.
    for piece in pieces(4000)[1:]:
        lab.put(web, metrics, piece, late, 0)
    lab.edges[late][6] = 1
    lab.write("fragments")


def table_full():
    web, cart = Container("web", "172.20.0.4", 17), Container("cart", "172.20.0.3", 13, ["8080/tcp"])
    lab = Lab(web, cart)
    for _ in range(300):
        lab.connection(web, cart, 8080, edge("web", "cart", 8080), closed=False, exchanges=1, request=10, response=10)
    lab.write("table-full", totals=False)


# Per standard rule that one conversation suffices for: who calls whom, at which address, on which port; first as it
# should not be, then as it may.
OUTSIDE, RESOLVER = "203.0.113.9", "203.0.113.53"
STANDARD = [
    # id                  raised                                           silent
    ("foreign_database",  ("tool", "db", None, 5432),                      ("web", "db", None, 5432)),
    ("docker_api",        ("web", "host", Lab.gateway, 2375),              ("web", "host", Lab.gateway, 2374)),
    ("cloud_metadata",    ("web", "unclaimed", "169.254.169.254", 80),     ("web", "unclaimed", "169.254.169.253", 80)),
    ("internal_outbound", ("worker", "external", OUTSIDE, 443),            ("web", "external", OUTSIDE, 443)),
    ("foreign_resolver",  ("web", "external", OUTSIDE, 53),                ("web", "external", RESOLVER, 53)),
    ("cleartext_admin",   ("web", "old", None, 23),                        ("web", "old", None, 22)),
]


def standard_rules():
    for case, column in [("standard-rules-raised", 1), ("standard-rules-silent", 2)]:
        lab = Lab(Container("web", "172.20.0.4", 17), Container("db", "172.20.0.5", 19), Container("old", "172.20.0.6", 21),
                  Container("worker", "172.20.0.7", 23), Container("tool", "172.20.0.8", 25, project="ops"))
        for row in STANDARD:
            caller, called, address, port = row[column]
            initiator, responder = lab.containers[caller], lab.containers.get(called)
            names = edge("ops/tool" if caller == "tool" else caller, called, port)
            lab.connection(initiator, responder, port, names, target=address)
        # Twenty periods of a minute, give or take a tenth; and as many calls at any time.
        for number in range(21):
            lab.connection(lab.containers["web"], None, 8443, edge("web", "external", 8443), target=OUTSIDE,
                           request=10, response=10)
            lab.wait((60 + number * 5 % 13 - 6) * 1000 if column == 1 else (3 + number * 37 % 101) * 1000)
        if column == 2:
            # As many peers as a sweep has, and all of them answer.
            for last in range(12):
                lab.connection(lab.containers["worker"], lab.containers["web"], 8000 + last, edge("worker", "web", 8000 + last),
                               request=10, response=10)
                lab.connection(lab.containers["web"], None, 443, edge("web", "external", 443),
                               target="203.0.113.%d" % (100 + last), request=10, response=10)
        lab.write(case)


def host_sweep():
    lab = Lab(Container("web", "172.20.0.4", 17))
    for last in range(12):
        lab.connection(lab.containers["web"], None, 22, edge("web", "external", 22), target="203.0.113.%d" % (100 + last),
                       outcome="unanswered")
        lab.wait(200)
    lab.wait(2000)
    lab.write("host-sweep")


def password_guessing():
    """A container of another project tries passwords; and programs that open as many connections, and are meant to."""
    def lab():
        return Lab(Container("bastion", "172.20.0.3", 13, ["22/tcp"]), Container("web", "172.20.0.4", 17),
                   Container("db", "172.20.0.5", 19, ["5432/tcp"]), Container("tool", "172.20.0.8", 25, project="ops"))

    raised = lab()
    tool, bastion, db = (raised.containers[name] for name in ["tool", "bastion", "db"])
    for _ in range(24):
        raised.connection(tool, bastion, 22, edge("ops/tool", "bastion", 22), exchanges=4, request=430, response=460)
        raised.connection(tool, db, 5432, edge("ops/tool", "db", 5432), exchanges=2, request=90, response=60)
        raised.wait(1_200)
    raised.write("password-guessing")
    silent = lab()
    web, bastion, db = (silent.containers[name] for name in ["web", "bastion", "db"])
    for number in range(60):
        # A program without a pool asks its own database and logs in each time; so does whoever asks for a page.
        silent.connection(web, db, 5432, edge("web", "db", 5432), exchanges=2, request=90, response=60)
        silent.connection(web, None, 443, edge("web", "external", 443), target=OUTSIDE)
        # Somebody deploys: a few sessions, and long ones.
        if number % 5 == 0:
            silent.connection(web, bastion, 22, edge("web", "bastion", 22), exchanges=4, request=430, response=460)
        if number % 3 == 0:
            silent.connection(web, bastion, 22, edge("web", "bastion", 22), exchanges=30, request=430, response=460)
        silent.wait(100)
    silent.write("password-guessing-silent")


def neighbour_sweep():
    """A container asks its network for whom nobody knows; and containers that ask for each other."""
    names = ["web", "cart", "db", "old", "worker", "cache", "queue", "mail", "search", "auth", "log", "cron"]

    def lab():
        return Lab(*(Container(name, "172.20.0.%d" % (4 + number), 13 + 2 * number) for number, name in enumerate(names)))

    raised = lab()
    for last in range(100, 120):
        raised.arp(raised.containers["web"], "172.20.0.%d" % last)
    raised.wait(3_000)
    raised.connection(raised.containers["web"], raised.containers["cart"], 8080, edge("web", "cart", 8080))
    raised.write("neighbour-sweep")
    silent = lab()
    for caller in silent.containers.values():
        # Everybody is there, but for three that were taken down; and again, as their kernels forget.
        for last in list(range(4, 16)) + [31, 32, 33, 31, 32, 33]:
            if caller.address != "172.20.0.%d" % last:
                silent.arp(caller, "172.20.0.%d" % last)
    silent.wait(3_000)
    silent.connection(silent.containers["web"], silent.containers["cart"], 8080, edge("web", "cart", 8080))
    silent.write("neighbour-sweep-silent")


def levels():
    """Two days, half an hour each: a question a minute, and on the second day more, or not."""
    for case, most in [("level-raised", 70), ("level-silent", 1)]:
        lab = Lab(Container("web", "172.20.0.4", 17), Container("db", "172.20.0.5", 19))
        for day in range(2):
            for minute in range(31 if day == 0 else 12):
                lab.now = START + (day * 86_400 + minute * 60 + 5) * 10**9
                for _ in range(most if day == 1 and 4 <= minute < 7 else 1):
                    lab.exchange(lab.containers["web"], lab.containers["db"], 5300, edge("web", "db", 5300, "udp"))
        lab.write(case)


def first_day():
    """Half an hour of three compose projects that nobody wrote a contract for."""

    def lab(number, network, *containers):
        it = Lab(*containers)
        it.network, it.subnet, it.gateway = network, "172.%d.0.0/24" % number, "172.%d.0.1" % number
        it.bridge, it.bridge_mac = number, bytes([0x02, 0x42, 0x56, 0xFB, 0x44, number])
        return it

    def container(project, service, address, index, *ports):
        return Container(service, address, index, ports, project)

    blog = lab(31, "blog_default", container("blog", "web", "172.31.0.2", 101, "80/tcp"),
               container("blog", "app", "172.31.0.3", 102, "9000/tcp"), container("blog", "db", "172.31.0.4", 103, "3306/tcp"),
               container("blog", "cache", "172.31.0.5", 104, "6379/tcp"), container("metrics", "exporter", "172.31.0.9", 109))
    metrics = lab(32, "metrics_default", container("metrics", "prometheus", "172.32.0.2", 201, "9090/tcp"),
                  container("metrics", "grafana", "172.32.0.3", 202, "3000/tcp"),
                  container("metrics", "alerts", "172.32.0.4", 203, "9093/tcp"))
    jobs = lab(33, "jobs_default", container("jobs", "api", "172.33.0.2", 301, "8000/tcp"),
               container("jobs", "worker", "172.33.0.3", 302), container("jobs", "queue", "172.33.0.4", 303, "5672/tcp"))

    def call(it, second, caller, called, port, target=None, **more):
        initiator, responder = it.containers.get(caller), it.containers.get(called)
        full = lambda end, name: "%s/%s" % (end.project, end.service) if end else name
        it.now = START + second * 10**9 + (len(it.frames) % 97) * 10**6
        source = "198.51.100.%d" % (10 + second % 20) if not initiator else None
        it.connection(initiator, responder, port, (full(initiator, caller), full(responder, called), port, "tcp"), source=source,
                      target=target, request=20, response=60, **more)

    calls = []
    for second in range(7, 1800, 75):
        calls.append((second, blog, "external", "web", 80, {}))
        calls.append((second + 1, blog, "web", "app", 9000, {}))
        calls.append((second + 2, blog, "app", "db", 3306, {}))
        calls.append((second + 2, blog, "app", "cache", 6379, {}))
    calls += [(second, blog, "app", "external", 443, {"target": "203.0.113.80"}) for second in (60, 1500)]
    calls += [(second, blog, "exporter", "db", 3306, {}) for second in range(10, 1800, 60)]
    calls += [(second, metrics, "prometheus", name, port, {}) for second in range(0, 1800, 60)
              for name, port in (("grafana", 3000), ("alerts", 9093))]
    # What is measured goes to a service outside, every minute.
    calls += [(second + second // 60 % 3, metrics, "prometheus", "external", 443, {"target": "203.0.113.40"})
              for second in range(5, 1800, 60)]
    calls += [(second, metrics, "grafana", "external", 443, {"target": "203.0.113.41"}) for second in (30, 630, 1230)]
    calls += [(second, jobs, "external", "api", 8000, {}) for second in (100, 130, 400, 900, 905, 1300)]
    calls += [(second, jobs, "api", "queue", 5672, {}) for second in (101, 131, 401, 901, 906, 1301)]
    calls += [(second, jobs, "worker", "queue", 5672, {}) for second in (0, 900)]
    # A debugger somebody left on, a peer that is down, and files fetched as they were twenty years ago.
    calls += [(700, jobs, "worker", "api", 5678, {})]
    calls += [(second, jobs, "worker", "external", 8883, {"target": "203.0.113.99", "outcome": "unanswered"})
              for second in (200, 203, 209, 221, 245, 293, 389, 581, 965)]
    calls += [(second, jobs, "worker", "external", 21, {"target": "203.0.113.77"}) for second in (600, 1200)]
    for second, it, caller, called, port, more in sorted(calls, key=lambda row: row[0]):
        call(it, second, caller, called, port, **more)
    for it in (blog, metrics, jobs):
        it.wait(2000)
    whole = lab(31, "blog_default")
    whole.frames = sorted(blog.frames + metrics.frames + jobs.frames, key=lambda frame: frame[0])
    whole.now = max(it.now for it in (blog, metrics, jobs))
    for it in (blog, metrics, jobs):
        whole.edges.update(it.edges)
        whole.counted = [a + b for a, b in zip(whole.counted, it.counted)]
    whole.roster = lambda addresses: "\n".join(it.roster(addresses) for it in (blog, metrics, jobs))
    whole.write("first-day")


def dns(ident, name, answer=None):
    """A question for an IPv4 address, or its answer: (aliases, address, seconds to live)."""
    coded = lambda name: b"".join(bytes([len(label)]) + label for label in name.split(b".")) + b"\0"
    records = []
    if answer:
        aliases, address, ttl = answer
        chain = [name] + aliases
        for owner, target in zip(chain, chain[1:]):
            records.append(coded(owner) + struct.pack(">HHIH", 5, 1, ttl, len(coded(target))) + coded(target))
        records.append(coded(chain[-1]) + struct.pack(">HHIH", 1, 1, ttl, 4) + socket.inet_aton(address))
    head = struct.pack(">HHHHHH", ident, 0x8180 if answer else 0x0100, 1, len(records), 0, 0)
    return head + coded(name) + struct.pack(">HH", 1, 1) + b"".join(records)


def dns_names():
    web, cart = Container("web", "172.20.0.4", 17), Container("cart", "172.20.0.3", 13)
    worker, old = Container("worker", "172.20.0.7", 23), Container("old", "172.20.0.6", 21)
    lab = Lab(web, cart, worker, old)

    def ask(asker, sport, ident, name, answer):
        there = edge(asker.service, "external", 53, "udp")
        question = udp(asker.address, sport, RESOLVER, 53, dns(ident, name))
        lab.put(asker, None, lab.packet(asker.address, RESOLVER, UDP, question), there, 0)
        reply = udp(RESOLVER, 53, asker.address, sport, dns(ident, name, answer))
        lab.put(None, asker, lab.packet(RESOLVER, asker.address, UDP, reply), there, 1)
        lab.edges[there][4] += 1
        lab.wait(5)

    def call(caller, address, **more):
        lab.connection(caller, None, 443, edge(caller.service, "external", 443), target=address, **more)

    ask(web, 41000, 7, b"API.example.com", ([b"edge.example.net"], OUTSIDE, 60))
    call(web, OUTSIDE)
    # The same address by another name, over TCP; and a name that would paint a terminal red.
    there = edge("web", "external", 53)
    seq = [100, 900]
    for side, flags, payload in [(0, SYN, b""), (1, SYN | ACK, b""), (0, ACK, b""), (0, PSH | ACK, dns(8, b"www.example.com")),
                                 (1, PSH | ACK, dns(8, b"www.example.com", ([], OUTSIDE, 60))),
                                 (0, FIN | ACK, b""), (1, FIN | ACK, b""), (0, ACK, b"")]:
        payload = struct.pack(">H", len(payload)) + payload if payload else b""
        ends = [(web, web.address, 41001), (None, RESOLVER, 53)]
        (a, source, p), (b, target, q) = ends[side], ends[1 - side]
        segment = tcp(source, p, target, q, flags, seq[side], seq[1 - side] if flags & ACK else 0, payload)
        lab.put(a, b, lab.packet(source, target, TCP, segment), there, side)
        seq[side] += len(payload) + (1 if flags & (SYN | FIN) else 0)
    lab.edges[there][4] = 1
    call(web, OUTSIDE)
    ask(web, 41002, 9, b"\x1b[31m<b>.example.com", ([], "203.0.113.10", 60))
    call(web, "203.0.113.10")
    # Nobody told cart what this address is called.
    call(cart, OUTSIDE)
    # An answer to a question worker never asked, from a container that calls itself the resolver.
    told = edge("worker", "old", 53, "udp")
    forged = udp(RESOLVER, 53, worker.address, 41003, dns(10, b"bank.example.com", ([], "203.0.113.66", 60)))
    lab.put(old, worker, lab.packet(RESOLVER, worker.address, UDP, forged), told, 1)
    lab.edges[told][4] = 1
    call(worker, "203.0.113.66")
    lab.write("dns-names")


if __name__ == "__main__":
    for make in [undocumented_debug_port, spoofed_source, open_before_start, published_port, fragments, table_full,
                 standard_rules, password_guessing, neighbour_sweep, levels, host_sweep, first_day, dns_names]:
        make()
