# what: UTF-8 in names of files and in text, time zones
LC_ALL=C.UTF-8
export LC_ALL
locale charmap | holds -x UTF-8
echo 'grüße' > 'ключ 鍵'
[ "$(ls)" = 'ключ 鍵' ]
[ "$(wc -m < 'ключ 鍵')" = 6 ]
text=$(cat 'ключ 鍵')
[ ${#text} = 5 ]
[ ! -e /usr/share/zoneinfo/Asia/Tokyo ] || [ "$(TZ=Asia/Tokyo date -d @0 +%H)" = 09 ]
