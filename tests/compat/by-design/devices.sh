# what: devices, made or found
# needs: mknod
for device in kvm mem sda vda tun net/tun fb0 snd dri; do [ ! -e /dev/$device ]; done
fails mknod block b 7 0 2> /dev/null
fails mknod char c 1 1 2> /dev/null
