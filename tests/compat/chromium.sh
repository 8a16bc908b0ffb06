# what: Chromium, headless: the document after its script ran, a screenshot
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
# On the host's /usr the wrapper of the package misses its settings, which are in the host's /etc.
[ -d /etc/chromium.d ] || [ ! -x /usr/lib/chromium/chromium ] || browser=/usr/lib/chromium/chromium
[ -n "$browser" ] || { echo 'there is no chromium'; exit 77; }
echo '<title>t</title><p id=p>no</p><script>p.textContent = 6 * 7 + (crossOriginIsolated ? "!" : "")</script>' > page.html
browse() { timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --no-first-run --user-data-dir="$PWD/$1" "${@:2}" "file://$PWD/page.html" 2> log || { tail -n 20 log >&2; return 1; }; }
browse first --dump-dom > dom
grep -q '<p id="p">42</p>' dom || { cat dom; tail -n 20 log; exit 1; }
browse second --screenshot="$PWD/shot.png" --window-size=320,200 > /dev/null
[ "$(od -An -tx1 -N 8 shot.png | tr -d ' ')" = 89504e470d0a1a0a ]
[ "$(stat -c %s shot.png)" -gt 500 ]
