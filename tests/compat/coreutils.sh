# what: coreutils and findutils on 1,500 files
mkdir -p tree/{0..9}
seq 1500 | while read -r number; do echo "file $number" > tree/$((number % 10))/$number; done
[ "$(find tree -type f | wc -l)" = 1500 ]
find tree -type f -print0 | sort -z | xargs -0 -P 4 -n 100 sha256sum | sort -k 2 > sums
[ "$(wc -l < sums)" = 1500 ]
cp -a tree copy
diff -r tree copy
cp -al tree links
[ "$(stat -c %h links/1/1)" = 2 ]
find copy -name '*7' -delete
[ "$(find copy -type f | wc -l)" = 1350 ]
ln -s tree/1/1 link
[ "$(readlink -f link)" = "$PWD/tree/1/1" ]
touch -d '2001-02-03 04:05:06 UTC' old
[ "$(date -u -r old +%Y-%m-%d)" = 2001-02-03 ]
truncate -s 1G sparse
[ "$(stat -c %s sparse)" = 1073741824 ]
[ "$(du -k sparse | cut -f 1)" -lt 100 ]
fallocate -l 1M full
dd if=/dev/urandom of=random bs=64k count=16 status=none
split -b 100k random part.
cat part.* | cmp - random
mv tree moved
chmod 640 old
[ "$(stat -c %a old)" = 640 ]
install -m 755 -D /dev/null deep/er/tool
[ -x deep/er/tool ]
[ "$(shuf -i 1-100 | sort -n | uniq | wc -l)" = 100 ]
mv --exchange old link 2> /dev/null || true
df . > /dev/null
sync old
rm -rf moved copy links
[ ! -e moved ]
