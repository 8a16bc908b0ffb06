# what: Unix sockets: stream, datagram, abstract, descriptors and credentials passed; TCP options
# needs: python3
cat > main.py <<'END'
import os, socket, struct
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(f"socket-{kind}")
    server.listen()
    client = socket.socket(socket.AF_UNIX, kind)
    client.connect(f"socket-{kind}")
    peer, _ = server.accept()
    pid, uid, gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    assert (pid, uid) == (os.getpid(), os.getuid())
    read, write = os.pipe()
    socket.send_fds(client, [b"pipe"], [write])
    _, (passed,), _, _ = socket.recv_fds(peer, 4, 1)
    os.write(passed, b"through")
    assert os.read(read, 7) == b"through"
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
abstract.bind("\0pilot")
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"datagram", "\0pilot")
assert abstract.recv(20) == b"datagram"
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
udp.sendto(b"udp", udp.getsockname())
assert udp.recv(3) == b"udp"
low = socket.socket()
low.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
low.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
low.bind(("0.0.0.0", 88))
low.listen()
assert socket.create_connection(("127.0.0.1", 88)).getpeername()[1] == 88
assert socket.getaddrinfo("localhost", 80)
assert socket.gethostbyname(socket.gethostname())
assert [name for _, name in socket.if_nameindex()].count("lo") == 1
END
python3 main.py
