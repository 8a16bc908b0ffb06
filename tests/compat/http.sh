# what: curl to python's http.server inside: whole files, what is absent, many at once
# needs: python3 curl
mkdir files
seq 100000 > files/numbers
python3 -u -m http.server --bind 127.0.0.1 --directory files 0 > port 2> log &
server=$!
trap 'kill $server' EXIT
until grep -q 'port [0-9]' port; do kill -0 $server; sleep 0.02; done
url=http://localhost:$(sed -E 's/.*port ([0-9]+).*/\1/' port)
curl -sf "$url/numbers" | cmp - files/numbers
[ "$(curl -s -o /dev/null -w '%{http_code}' "$url/absent")" = 404 ]
for number in $(seq 20); do curl -sf "$url/numbers" -o "got.$number" & downloads="${downloads:-} $!"; done
wait $downloads
cmp got.1 files/numbers
cmp got.20 files/numbers
