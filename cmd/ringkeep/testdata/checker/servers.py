# A web, a mail and a name server on the loopback that live while the file "up" exists.
import os, socket, threading, time

def talk(c, lines):
    c.settimeout(2)
    try:
        for wait, line in lines:
            if wait: c.recv(2000)
            c.sendall(line)
    except OSError: pass
    c.close()

def stream(port, lines):
    s = None
    while True:
        up = os.path.exists("up")
        if up and not s:
            s = socket.create_server(("127.0.0.1", port), backlog=50)
            s.settimeout(0.02)
        if not up and s: s.close(); s = None
        if not s: time.sleep(0.02); continue
        try: c, _ = s.accept()
        except OSError: continue
        threading.Thread(target=talk, args=(c, lines), daemon=True).start()

def datagrams(port):
    s = None
    while True:
        up = os.path.exists("up")
        if up and not s:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("127.0.0.1", port)); s.settimeout(0.02)
        if not up and s: s.close(); s = None
        if not s: time.sleep(0.02); continue
        try: b, who = s.recvfrom(1000)
        except OSError: continue
        s.sendto(b[:2] + b"\x81\x80" + b[4:12], who)

web = [(True, b"HTTP/1.0 200 OK\r\n\r\nok")]
mail = [(False, b"220 x\r\n"), (True, b"250 y\r\n"), (True, b"221 z\r\n")]
for args in ((stream, 8080, web), (stream, 8025, mail), (datagrams, 8053)):
    threading.Thread(target=args[0], args=args[1:], daemon=True).start()
time.sleep(300)
