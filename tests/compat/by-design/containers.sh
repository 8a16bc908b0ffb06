# what: containers: unshare, clone3, bwrap, docker
# needs: python3 unshare
fails unshare --user true 2> told
grep -q 'Operation not permitted' told
for kind in --mount --pid --net --uts --ipc --cgroup; do fails unshare $kind true 2> /dev/null; done
if command -v bwrap > /dev/null; then fails bwrap --ro-bind / / true 2> /dev/null; fi
if command -v docker > /dev/null; then fails docker info > /dev/null 2>&1; fi
python3 - <<'END'
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(435, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS
END
