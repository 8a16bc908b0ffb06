# what: the clock, the host name, sysctl, another first process
# needs: date hostname
now=$(date +%s)
fails date -s '2001-01-01' > /dev/null 2>&1
[ "$(date +%s)" -ge "$now" ]
fails hostname other 2> /dev/null
fails sh -c 'echo 1 > /proc/sys/kernel/panic' 2> /dev/null
fails sh -c 'echo b > /proc/sysrq-trigger' 2> /dev/null
[ "$(cat /proc/1/comm)" != systemd ]
