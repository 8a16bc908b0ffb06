# What every check begins with. A check that needs what is not there ends with 77 after a line that says why.
set -Eeu -o pipefail
trap 'echo "line $LINENO: $BASH_COMMAND" >&2' ERR

# Where a command must not succeed: `!` would hide it from `set -e`.
fails() {
    if "$@"; then
        return 1
    fi
}

# `grep -q` for the end of a pipe: it reads everything, so that whoever writes is not cut short.
holds() {
    grep "$@" > /dev/null
}

for program in ${needs:-}; do
    command -v "$program" > /dev/null || { echo "there is no $program"; exit 77; }
done
count=$(awk '{ count += $3 } END { print count }' /proc/self/uid_map)
case ${ids:-any} in
    several) [ "$count" -gt 1 ] || { echo 'there is a single id'; exit 77; } ;;
    one) [ "$count" = 1 ] || { echo 'there are several ids'; exit 77; } ;;
esac
