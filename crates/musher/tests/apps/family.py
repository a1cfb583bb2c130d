# A server whose descendants have its listening socket and do not want to end: family.py <port> [hidden]. One left the
# session, one is a daemon whose parents have ended; `hidden` adds one that also has no environment. Each writes its pid
# into a file when it is deaf to everything but SIGKILL.
import os, signal, socket, sys, time

def stay(name):
    for deaf in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(deaf, signal.SIG_IGN)
    with open(name + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(name + ".new", name)
    while True:
        time.sleep(1000)

if sys.argv[1] == "stay":
    stay(sys.argv[2])

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
listener.set_inheritable(True)
if os.fork() == 0:
    os.setsid()
    stay("session")
for name in ["daemon"] + sys.argv[2:]:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            env = {"PATH": os.environ["PATH"]} if name == "hidden" else dict(os.environ)
            os.execve(sys.executable, ["python3", sys.argv[0], "stay", name], env)
        os._exit(0)
    os.wait()
while True:
    listener.accept()[0].close()
