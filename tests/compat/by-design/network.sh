# what: UDP to elsewhere, literals of IPv6, private networks, TXT records
# needs: python3
python3 - <<'END'
import socket, struct

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(5)
udp.connect(("198.51.100.7", 443))
try:
    udp.send(b"hello")
    udp.recv(10)
except OSError as error:
    assert not isinstance(error, TimeoutError), "a datagram went somewhere"
else:
    raise AssertionError("somebody answered a datagram")

try:
    socket.create_connection(("2001:db8::1", 80), timeout=5)
except OSError:
    pass
else:
    raise AssertionError("there is a route for IPv6")

for private in ("10.0.0.1", "192.168.0.1", "169.254.169.254"):
    try:
        connection = socket.create_connection((private, 80), timeout=5)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % private.encode())
        told = connection.recv(200)
    except OSError:
        continue
    assert told == b"" or b" 403 " in told.split(b"\r\n")[0], told

servers = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
if servers:
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.settimeout(5)
    question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\x07example\x03com\x00" + struct.pack(">2H", 16, 1)
    try:
        dns.sendto(question, (servers[0], 53))
        answer = dns.recv(512)
        assert struct.unpack(">H", answer[6:8])[0] == 0, "a TXT record came back"
    except OSError as error:
        assert not isinstance(error, TimeoutError), "no answer to a question for TXT"
END
