# The last step of building an image, in the root file system that is its argument: what a sandbox needs besides packages.
set -e
root=$1
cd "$root"

# Services do not start when their packages are installed.
printf '#!/bin/sh\nexit 101\n' > usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d

# The walls are the sandbox's: a second user for downloads only fails where there is a single id.
cat > etc/apt/apt.conf.d/90sandbox <<'APT'
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
APT::Sandbox::User "root";
Acquire::Retries "3";
Acquire::Languages "none";
Dpkg::Use-Pty "false";
APT
cat > etc/dpkg/dpkg.cfg.d/90sandbox <<'DPKG'
force-confold
force-unsafe-io
DPKG

# Who builds may have to say who they are to the mirror; who uses the image need not know it.
for file in etc/apt/sources.list etc/apt/sources.list.d/*; do
    test ! -f "$file" || sed -i -E 's#(https?://)[^/@ ]*@#\1#' "$file"
done

# pip installs for everybody: the image is nobody's system.
printf '[global]\nbreak-system-packages = true\nroot-user-action = ignore\n' > etc/pip.conf
printf 'LANG=C.UTF-8\n' > etc/default/locale
mkdir -p workspace
: > etc/machine-id
rm -rf etc/hostname etc/resolv.conf etc/apt/apt.conf.d/99mmdebstrap
rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb var/cache/debconf/*-old
rm -rf var/log/*.log var/log/apt/* var/lib/dpkg/*-old tmp/* var/tmp/*
