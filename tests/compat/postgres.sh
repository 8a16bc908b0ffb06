# what: PostgreSQL: initdb, start, psql, stop, as a user of its own
# ids: several
programs=$(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | tail -n 1)
[ -x "${programs:-/none}/initdb" ] || { echo 'there is no initdb'; exit 77; }
getent passwd dba > /dev/null || useradd --create-home --shell /bin/bash dba
place=$(mktemp -d)
chown dba: "$place"
as_dba() { setpriv --reuid=dba --regid="$(id -g dba)" --init-groups env -C "$place" HOME="$place" PATH="$programs:$PATH" "$@"; }
as_dba initdb -D "$place/data" -U dba --auth=trust > log
trap 'as_dba pg_ctl -D "$place/data" -m immediate stop > /dev/null 2>&1 || true; rm -rf "$place"' EXIT
as_dba pg_ctl -D "$place/data" -w -l "$place/log" -o "-p 54321 -k $place" start > log || { cat "$place/log"; exit 1; }
ask() { as_dba psql -h "$1" -p 54321 -U dba -At postgres -c "$2"; }
ask "$place" 'create table numbers as select * from generate_series(1, 1000) as n' > /dev/null
[ "$(ask 127.0.0.1 'select sum(n) from numbers')" = 500500 ]
ask 127.0.0.1 'set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set min_parallel_table_scan_size = 0; select count(*) from numbers' | holds -x 1000
as_dba pg_ctl -D "$place/data" -w -m fast restart -l "$place/log" -o "-p 54321 -k $place" > log
[ "$(ask "$place" 'select count(*) from numbers')" = 1000 ]
