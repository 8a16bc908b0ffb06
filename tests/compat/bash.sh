# what: bash: arrays, substitutions, traps, coprocesses, job control
declare -A ages=([ada]=36 [alan]=41)
names=("${!ages[@]}")
[ ${#names[@]} = 2 ]
[ "${ages[ada]}" = 36 ]
[ "$(cat <(echo one) <(echo two) | tr '\n' ,)" = one,two, ]
mapfile -t lines < <(seq 5)
[ "${lines[4]}" = 5 ]
echo kept > >(tee copy > /dev/null)
wait $!
[ "$(cat copy)" = kept ]
[ "$(trap 'echo left' EXIT; exit 0)" = left ]
coproc BC { while read -r number; do echo $((number * 2)); done; }
echo 21 >&"${BC[1]}"
read -r -u "${BC[0]}" answer
[ "$answer" = 42 ]
helper=$BC_PID
kill "$helper"
wait "$helper" || [ $? = 143 ]
set -m
sleep 30 &
job=$!
[ "$(ps -o pgid= -p $job | tr -d ' ')" = $job ]
kill -STOP %1
while [ "$(cut -d ' ' -f 3 /proc/$job/stat)" != T ]; do :; done
[ "$(jobs -s | wc -l)" = 1 ]
bg %1 > /dev/null
[ "$(jobs -r | wc -l)" = 1 ]
kill $job
wait $job || [ $? = 143 ]
(exit 3) & (exit 0) &
wait
timeout 0.2 sleep 5 || [ $? = 124 ]
mkfifo pipe
echo through > pipe &
[ "$(cat pipe)" = through ]
ulimit -n 256
[ "$(ulimit -n)" = 256 ]
