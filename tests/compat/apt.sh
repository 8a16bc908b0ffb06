# what: apt-get install of a local package whose script makes a user and gives files away; dpkg, removal
# needs: apt-get dpkg-deb
# ids: several
[ -w /usr/bin ] || { echo '/usr is read-only: it is the host'"'"'s'; exit 77; }
mkdir -p package/DEBIAN package/usr/bin package/var/lib/pilotd
chmod 755 package package/DEBIAN
printf 'Package: pilotd\nVersion: 1.0\nArchitecture: all\nMaintainer: Pilot <pilot@example.com>\nDescription: flies\n' > package/DEBIAN/control
printf '#!/bin/sh\necho flying\n' > package/usr/bin/pilotd
cat > package/DEBIAN/postinst <<'END'
#!/bin/sh
set -e
adduser --system --group --home /var/lib/pilotd --no-create-home pilotd > /dev/null 2>&1 ||
    useradd --system --user-group --home-dir /var/lib/pilotd --shell /usr/sbin/nologin pilotd
chown -R pilotd:pilotd /var/lib/pilotd
chmod 2750 /var/lib/pilotd
END
chmod 755 package/usr/bin/pilotd package/DEBIAN/postinst
dpkg-deb --build --root-owner-group package pilotd.deb > /dev/null
apt-get install -y -qq "$PWD/pilotd.deb" > log 2>&1 < /dev/null || { cat log; exit 1; }
[ "$(pilotd)" = flying ]
[ "$(stat -c %U:%G:%a /var/lib/pilotd)" = pilotd:pilotd:2750 ]
dpkg -s pilotd | holds '^Status: install ok installed'
dpkg -S /usr/bin/pilotd | holds '^pilotd:'
dpkg --verify pilotd
apt-get purge -y -qq pilotd > log 2>&1 < /dev/null
[ ! -e /usr/bin/pilotd ]
