# what: sqlite3 in WAL mode, by two processes
# needs: python3
cat > main.py <<'END'
import sqlite3, subprocess, sys
database = sqlite3.connect("data.db", timeout=30)
if len(sys.argv) == 1:
    assert database.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    database.execute("create table numbers (n integer)")
    database.commit()
    others = [subprocess.Popen([sys.executable, "main.py", "write"]) for _ in range(2)]
    assert [other.wait() for other in others] == [0, 0]
    print(*database.execute("select count(*), sum(n) from numbers").fetchone())
else:
    for number in range(100):
        with database:
            database.execute("insert into numbers values (?)", (number,))
END
[ "$(python3 main.py)" = '200 9900' ]
if command -v sqlite3 > /dev/null; then [ "$(sqlite3 data.db 'select max(n) from numbers')" = 99 ]; fi
