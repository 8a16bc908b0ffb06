# what: strace: calls of a program and its children, counts
# needs: strace
strace -f -e trace=openat,execve -o calls sh -c 'cat /etc/passwd > /dev/null; true'
grep -q 'openat(AT_FDCWD, "/etc/passwd"' calls
[ "$(grep -c execve calls)" -ge 2 ]
strace -c -o counts true
grep -q 'execve' counts
