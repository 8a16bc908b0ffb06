# what: gdb: breakpoint, backtrace, a variable, attaching to a process
# needs: gdb gcc
cat > main.c <<'END'
#include <unistd.h>
int inner(int number) { return number * 2; }
int outer(int number) { return inner(number + 1); }
int main(int count, char **words) { if (count > 1) pause(); return outer(20) != 42; }
END
gcc -g -O0 main.c -o main
gdb -batch -ex 'break inner' -ex run -ex backtrace -ex 'print number' -ex continue ./main > told 2>&1 < /dev/null
grep -q '#1 .* outer (number=20)' told || { cat told; exit 1; }
grep -q '\$1 = 21' told
grep -q 'exited normally' told
./main wait &
gdb -batch -p $! -ex backtrace > attached 2>&1 < /dev/null
kill $!
grep -q 'main (count=2' attached || { cat attached; exit 1; }
