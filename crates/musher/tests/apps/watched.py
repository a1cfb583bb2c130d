# A worker that notifies as sd_notify(3) says: WATCHDOG=1 while no file `quiet` is in its directory; on SIGUSR2 that it is
# not fit. What it was told about the watchdog is in the file `watchdog`.
import os, signal, socket, time

def notify(text):
    name = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), "\0" + name[1:])

for wait in [float(part) for part in os.environ.get("SLOW_START", "").split() if part]:
    notify(f"EXTEND_TIMEOUT_USEC={int((wait + 20) * 1e6)}\nSTATUS=still starting")
    time.sleep(wait)
told = [os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", ""), str(os.getpid())]
with open("watchdog.new", "w") as file:
    file.write(" ".join(told))
os.replace("watchdog.new", "watchdog")
signal.signal(signal.SIGUSR2, lambda *_: notify("WATCHDOG=trigger"))
notify("READY=1\nSTATUS=serving\x1b[31m well")
fed = 0
while True:
    if not os.path.exists("quiet"):
        notify("WATCHDOG=1")
        fed += 1
        with open("fed", "w") as file:
            file.write(str(fed))
    time.sleep(0.1)
