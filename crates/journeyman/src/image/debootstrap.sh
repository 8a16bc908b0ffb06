# Builds a root file system with debootstrap, and writes it as a tar to its output. Runs as root, in mounts of its own.
# Arguments: a folder to work in, the release, the mirror, the keys or nothing, the packages with commas between them, the
# lines for sources.list, lines for apt's configuration, and the last step.
set -e
exec 3>&1 1>&2
folder=$1 suite=$2 mirror=$3 keyring=$4 packages=$5 sources=$6 options=$7 finish=$8
root=$folder/root
trap 'exit 1' HUP INT TERM
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$folder"' EXIT

debootstrap --variant=minbase ${keyring:+--keyring="$keyring"} "$suite" "$root" "$mirror"
printf '%s\n' "$sources" > "$root/etc/apt/sources.list"
printf '%s\n' "$options" > "$root/etc/apt/apt.conf.d/99mmdebstrap"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# The mirror may be behind certificates that only this machine knows; the package of that file makes it anew.
if test -f /etc/ssl/certs/ca-certificates.crt; then
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
fi
mount -t proc proc "$root/proc"
inside() {
    chroot "$root" /usr/bin/env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" < /dev/null
}
inside apt-get update
inside apt-get -y --no-install-recommends upgrade
inside apt-get -y --no-install-recommends install $(printf %s "$packages" | tr , ' ')
inside apt-get clean
umount "$root/proc"
sh -c "$finish" finish "$root"
tar --numeric-owner --one-file-system --xattrs -C "$root" -cf - . >&3
