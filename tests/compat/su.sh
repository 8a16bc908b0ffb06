# what: su and runuser, with a home of their own
# ids: several
# needs: su runuser
[ -d /etc/pam.d ] || { echo 'there is no /etc/pam.d: it is the host that is seen'; exit 77; }
getent passwd pilot > /dev/null || useradd --create-home --shell /bin/bash pilot
[ "$(su - pilot -c 'id -un; pwd' | tr '\n' ' ')" = "pilot $(getent passwd pilot | cut -d : -f 6) " ]
[ "$(runuser -u pilot -- id -un)" = pilot ]
su - pilot -c 'echo mine > ~/note && cat ~/note' | holds -x mine
su pilot -c 'test ! -w /etc/passwd'
