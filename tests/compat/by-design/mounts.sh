# what: mount, umount, loop devices, FUSE
# needs: mount umount
mkdir place
fails mount -t tmpfs none place 2> /dev/null
fails mount --bind / place 2> /dev/null
fails umount /proc 2> /dev/null
[ ! -e /dev/fuse ]
[ ! -e /dev/loop0 ]
[ ! -e /dev/loop-control ]
