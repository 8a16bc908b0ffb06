# what: calls that are refused: io_uring, userfaultfd, perf, bpf, fanotify, keyrings
# needs: python3
[ "$(uname -m)" = x86_64 ] || { echo 'its numbers are those of x86-64'; exit 77; }
python3 - <<'END'
import ctypes, errno

libc = ctypes.CDLL(None, use_errno=True)
refused = {"io_uring_setup": (425, errno.ENOSYS), "userfaultfd": (323, errno.EPERM), "perf_event_open": (298, errno.EPERM),
           "bpf": (321, errno.EPERM), "fanotify_init": (300, errno.EPERM), "keyctl": (250, errno.EPERM),
           "add_key": (248, errno.EPERM)}
for name, (number, wanted) in refused.items():
    assert libc.syscall(number, 0, 0, 0, 0, 0) == -1, name
    assert ctypes.get_errno() == wanted, (name, ctypes.get_errno())
END
