# what: ps, top, free, uptime, pgrep, pkill, nice, lsof, what /proc tells
# needs: ps top free
sleep 300 &
child=$!
ps -o comm= -p $child | holds -x sleep
ps aux | holds '[s]leep 300'
top -b -n 1 | holds 'sleep'
free -m | holds '^Mem:'
uptime | holds load
[ "$(pgrep -P $$ -x sleep)" = $child ]
# Whoever runs the server may have stepped back already.
niceness=$(($(nice) + 5))
nice -n 5 cat /proc/self/stat | cut -d ' ' -f 19 | holds -x $((niceness < 19 ? niceness : 19))
[ "$(readlink /proc/$child/exe)" = "$(readlink -f "$(command -v sleep)")" ]
grep -q '^VmRSS' /proc/$child/status
[ "$(nproc)" -ge 1 ]
taskset -p $child > /dev/null
if command -v lsof > /dev/null; then lsof -p $child | holds cwd; fi
pkill -P $$ -x sleep
wait $child || [ $? = 143 ]
kill -0 1
