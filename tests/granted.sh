#!/bin/sh
# Runs a program as a user whom this machine grants subordinate ids, as far as the program can see:
#
#     granted.sh USER PROGRAM [ARGUMENT ...]
#
# The user, by number, and the grant stand in a copy of /etc in memory, in a mount namespace of its own. The machine's own
# files stay as they are, and nothing is left when the program has ended. Only root can do that; it needs `newuidmap`.
set -eu

if [ "${1-}" != --inside ]; then
  exec unshare --mount --propagation private -- /bin/sh "$0" --inside "$@"
fi
user=$2
shift 2

copy=$(mktemp -d)
mount -t tmpfs -o mode=0755 granted "$copy"
cp -a /etc/. "$copy"
grep -q "^[^:]*:[^:]*:$user:" "$copy/passwd" ||
  echo "granted:x:$user:$user::/nonexistent:/usr/sbin/nologin" >>"$copy/passwd"
# Far above what machines grant to people.
echo "$user:1000000000:65536" | tee "$copy/subuid" >"$copy/subgid"
mount --bind "$copy" /etc
umount "$copy"
rmdir "$copy"
exec setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"
