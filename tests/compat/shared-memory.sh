# what: /dev/shm, POSIX and System V shared memory, semaphores and queues, memfd, eventfd, futex
# needs: python3
dd if=/dev/zero of=/dev/shm/block bs=1M count=32 status=none
[ "$(stat -c %s /dev/shm/block)" = 33554432 ]
rm /dev/shm/block
cat > main.py <<'END'
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    assert result != -1, (name, os.strerror(ctypes.get_errno()))
    return result
libc.shmat.restype = ctypes.c_void_p
segment = call("shmget", 0, 4096, 0o1600)
address = call("shmat", segment, None, 0)
ctypes.memmove(address, b"shared", 6)
if os.fork() == 0:
    ctypes.memmove(address, b"SHARED", 6)
    os._exit(0)
os.wait()
assert ctypes.string_at(address, 6) == b"SHARED"
call("shmctl", segment, 0, None)
semaphores = call("semget", 0, 1, 0o1600)
call("semctl", semaphores, 0, 0, 0)
queue = call("msgget", 0, 0o1600)
call("msgctl", queue, 0, None)
fd = os.memfd_create("m")
os.write(fd, b"x" * 4096)
mmap.mmap(fd, 4096)[0] = 42
os.close(os.open("/dev/shm", os.O_RDONLY))
call("eventfd", 0, 0)
call("sem_open", b"/pilot", os.O_CREAT, 0o600, 1)
call("sem_unlink", b"/pilot")
name = b"/pilot-queue"
queue = libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None) if hasattr(libc, "mq_open") else 0
assert queue != -1, os.strerror(ctypes.get_errno())
END
python3 main.py
