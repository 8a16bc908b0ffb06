# what: files given away, users and groups made, other users by setpriv
# ids: several
touch file
chown 1000:1001 file
[ "$(stat -c %u:%g file)" = 1000:1001 ]
chmod 600 file
chmod 711 .
[ "$(setpriv --reuid=1000 --regid=1001 --clear-groups id -u)" = 1000 ]
setpriv --reuid=1000 --regid=1001 --clear-groups cat "$PWD/file"
fails setpriv --reuid=1002 --regid=1002 --clear-groups cat "$PWD/file" 2> refused
grep -q 'Permission denied' refused
getent passwd pilot > /dev/null || useradd --create-home --shell /bin/bash pilot
groupadd crew 2> /dev/null || getent group crew > /dev/null
usermod -aG crew pilot
setpriv --reuid=pilot --regid="$(id -g pilot)" --init-groups id -Gn | holds -w crew
