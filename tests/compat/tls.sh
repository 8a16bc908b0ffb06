# what: openssl: a key, a certificate, a TLS server and curl
# needs: openssl curl
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2> /dev/null
openssl s_server -quiet -accept 44330 -key key -cert certificate -WWW > log 2>&1 &
server=$!
trap 'kill $server' EXIT
echo flying > page
for _ in $(seq 100); do [ "$(curl -s --cacert certificate https://localhost:44330/page)" != flying ] || exit 0; sleep 0.05; done
cat log
exit 1
