# what: ping, raw and packet sockets
# needs: python3
if command -v ping > /dev/null; then fails ping -c 1 -W 1 127.0.0.1 > /dev/null 2>&1; fi
python3 - <<'END'
import errno, socket
for family, kind, protocol in [
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    (socket.AF_PACKET, socket.SOCK_RAW, 0),
    (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
]:
    try:
        socket.socket(family, kind, protocol)
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT), error
    else:
        raise AssertionError((family, kind))
END
