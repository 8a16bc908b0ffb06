# what: pseudo-terminals: python's pty, script, stty
# needs: python3 script
[ "$(script -qec 'test -t 0 && tty' /dev/null < /dev/null | tr -d '\r' | cut -c 1-9)" = /dev/pts/ ]
cat > main.py <<'END'
import os, pty
pid, fd = pty.fork()
if pid == 0:
    os.execlp("sh", "sh", "-c", "stty size; read answer; echo got $answer")
os.write(fd, b"42\n")
told = b""
try:
    while data := os.read(fd, 1024):
        told += data
except OSError:
    pass
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert b"got 42" in told, told
END
python3 main.py
