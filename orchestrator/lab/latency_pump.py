"""Copies frames between two interfaces, late: for kernels without netem. Needs CAP_NET_RAW in its own namespaces only.

Started as a program: `latency_pump.py ONE OTHER MILLISECONDS [ADDRESS]`; frames to or from ADDRESS are not delayed.
PACKET_VNET_HDR carries checksum and segmentation state across, so large frames pass whole. Standard library alone.
"""

import heapq
import select
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 1, 15, 23
PACKET_MR_PROMISC = 1
VNET_HEADER_BYTES = 10
FRAME_BYTES_MAX = 70_000
BUFFER_BYTES = 8 << 20
QUEUED_BYTES_MAX = 64 << 20  # beyond this a frame is lost, as in any real queue


def raw_socket(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    raw.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    raw.bind((interface, ETH_P_ALL))
    number = socket.if_nametoindex(interface)
    raw.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("IHH8s", number, PACKET_MR_PROMISC, 0, b""))
    raw.setblocking(False)
    return raw


def pump(one: socket.socket, other: socket.socket, delay_seconds: float, exempt: bytes | None) -> None:
    waiting: list[tuple[float, int, socket.socket, bytes]] = []
    count, queued_bytes = 0, 0
    across = {one: other, other: one}
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, outlet, frame = heapq.heappop(waiting)
            queued_bytes -= len(frame)
            send(outlet, frame)
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for inlet in select.select([one, other], [], [], pause)[0]:
            for _ in range(64):
                try:
                    frame = inlet.recv(FRAME_BYTES_MAX)
                except OSError:
                    break  # nothing more for now, or the interface is down for a moment
                at_once = frame[22:24] != b"\x08\x00" or (exempt is not None and exempt in (frame[36:40], frame[40:44]))
                if at_once:
                    send(across[inlet], frame)
                elif queued_bytes < QUEUED_BYTES_MAX:
                    count += 1
                    queued_bytes += len(frame)
                    heapq.heappush(waiting, (time.monotonic() + delay_seconds, count, across[inlet], frame))


def send(outlet: socket.socket, frame: bytes) -> None:
    try:
        outlet.send(frame)
    except OSError:
        return  # a full or fallen interface loses frames


def main(words: list[str]) -> None:
    one, other = raw_socket(words[0]), raw_socket(words[1])
    print("ready", flush=True)
    pump(one, other, float(words[2]) / 1000, socket.inet_aton(words[3]) if len(words) > 3 else None)


if __name__ == "__main__":
    main(sys.argv[1:])
