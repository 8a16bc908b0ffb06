# what: Redis: server, client, saving, loading
# needs: redis-server redis-cli
start() { redis-server --port 63790 --bind 127.0.0.1 --dir "$PWD" --daemonize yes --pidfile "$PWD/pid" --logfile "$PWD/log" --save '' > /dev/null; }
ask() { redis-cli -p 63790 "$@"; }
ready() { for _ in $(seq 100); do [ "$(ask ping 2> /dev/null)" != PONG ] || return 0; sleep 0.05; done; cat log; return 1; }
trap 'ask shutdown nosave 2> /dev/null || true' EXIT
start
ready
ask set answer 42 > /dev/null
[ "$(ask incr answer)" = 43 ]
ask lpush list a b c > /dev/null
[ "$(ask save)" = OK ]
ask shutdown nosave
while [ -e pid ]; do sleep 0.02; done
start
ready
[ "$(ask get answer)" = 43 ]
[ "$(ask llen list)" = 3 ]
