# what: another user than root where there is a single id
# ids: one
touch file
fails chown 1000 file 2> /dev/null
fails setpriv --reuid=1000 --regid=1000 --clear-groups true 2> /dev/null
