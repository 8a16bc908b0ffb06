# what: inotify, epoll, timerfd, flock
# needs: python3 flock
cat > main.py <<'END'
import ctypes, os, select, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init1(0)
assert fd >= 0 and libc.inotify_add_watch(fd, b".", 0x100) >= 0
open("watched", "w").close()
poll = select.epoll()
poll.register(fd, select.EPOLLIN)
assert poll.poll(5)
assert b"watched" in os.read(fd, 4096)
timer = libc.timerfd_create(1, 0)
assert timer >= 0
assert libc.timerfd_settime(timer, 0, struct.pack("qqqq", 0, 0, 0, 1_000_000), None) == 0
assert struct.unpack("Q", os.read(timer, 8))[0] >= 1
END
python3 main.py
flock lock sleep 2 &
while flock -n lock true; do :; done
kill $!
