# what: tar, gzip, bzip2, xz, zstd, zip with owners, modes, links, times
# needs: tar gzip bzip2 xz zstd zip unzip
mkdir -p in/deep
seq 10000 > in/deep/numbers
chmod 4711 in/deep/numbers || chmod 711 in/deep/numbers
ln -s deep/numbers in/link
ln in/deep/numbers in/hard
mkfifo in/pipe
for kind in gzip bzip2 xz zstd; do
    tar --$kind -cf all.$kind in
    mkdir out.$kind
    tar -C out.$kind -xpf all.$kind
    cmp in/deep/numbers out.$kind/in/deep/numbers
    [ "$(stat -c '%a %h' out.$kind/in/hard)" = "$(stat -c '%a %h' in/hard)" ]
    [ "$(readlink out.$kind/in/link)" = deep/numbers ]
[ -p out.$kind/in/pipe ]
done
rm in/pipe
zip -qry all.zip in
unzip -q all.zip -d out.zip
diff -r --no-dereference in out.zip/in
