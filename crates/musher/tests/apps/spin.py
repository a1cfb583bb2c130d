"""Computes as long as a file `spin` is there, in the first slot only: python3 spin.py

It is dear to the kernel then, so that it gets its core also where others want it: what is tested is what follows from a
busy worker, not who gets the CPU.
"""

import os
import time

os.nice(-15)
try:
    # Where each session is a group of its own, that alone means nothing (sched(7)).
    with open("/proc/self/autogroup", "w") as group:
        group.write("-15")
except OSError:
    pass

spins = os.environ["MUSHER_SLOT"] == "0"
while True:
    if spins and os.path.exists("spin"):
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            pass
    else:
        time.sleep(0.05)
