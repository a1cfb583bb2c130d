"""A worker without a port: worker.py [what]."""

import os
import signal
import socket
import sys
import time

what = sys.argv[1] if len(sys.argv) > 1 else "stay"


def notify(text):
    """sd_notify(3)."""
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.sendall(text.encode())


if what == "stay":
    print(f"working pid={os.getpid()} instance={os.environ.get('NODE_APP_INSTANCE')}", flush=True)
    signal.pause()
elif what == "notify":
    time.sleep(0.3)
    notify("READY=1\nSTATUS=serving")
    signal.pause()
elif what == "count":
    # Numbered lines, each written in two parts, `per_second` of them.
    per_second, limit = int(sys.argv[2]), int(sys.argv[3])
    start = time.monotonic()
    for number in range(limit):
        os.write(1, f"line {number} ".encode())
        os.write(1, (f"filler{number % 10}" * 4 + "\n").encode())
        ahead = start + number / per_second - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
    print("counted", flush=True)
    signal.pause()
elif what == "flood":
    # As fast as anybody reads.
    chunk = b"".join(b"flood %06d %s\n" % (n, b"z" * 100) for n in range(1000))
    while True:
        os.write(1, chunk)
elif what == "long-line":
    os.write(1, b"y" * (1 << 20) + b"\nafter\n")
    signal.pause()
elif what == "env":
    print("variables " + " ".join(sorted(os.environ)), flush=True)
    print(f"port {os.environ.get('PORT')}", flush=True)
    signal.pause()
elif what == "die":
    print("the reason why it died", file=sys.stderr, flush=True)
    sys.exit(7)
elif what == "exit":
    sys.exit(int(sys.argv[2]))
