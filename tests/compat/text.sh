# what: awk, sed, grep, jq, ripgrep, diff and patch
# needs: awk sed grep diff patch
seq 1000 | awk '{ sum += $1 } END { print sum }' | holds -x 500500
printf 'a=1\nb=2\n' > old
sed 's/2/3/' old > new
diff -u old new > change || true
patch -s old change
cmp old new
if command -v jq > /dev/null; then [ "$(echo '{"a": [1, 2, 39]}' | jq '.a | add')" = 42 ]; fi
if command -v rg > /dev/null; then [ "$(rg --no-heading -c '^b' new)" = 1 ]; fi
