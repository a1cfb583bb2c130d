"""A worker without a port: it works on something every second, and ends cleanly when it is asked to."""

import os
import signal
import threading

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())

print(f"worker {os.getpid()} begins")
done = 0
while not stop.wait(1):
    done += 1
    if done % 10 == 0:
        print(f"{done} pieces of work done")
print(f"worker {os.getpid()} ends after {done} pieces of work")
