# what: gcc's sanitizers: addresses, leaks, threads, undefined behaviour
# needs: gcc
for bound in -v -d; do
    [ "$(ulimit $bound)" = unlimited ] || { echo 'memory is bounded for each process: they reserve terabytes'; exit 77; }
done
cat > main.c <<'END'
#include <stdlib.h>
int main(int count, char **words) {
    char *block = malloc(10);
    int at = count > 1 ? 10 : 9;
    block[at] = 1;
    free(block);
    return 0;
}
END
gcc -g -fsanitize=address,undefined main.c -o main
./main
fails ./main beyond 2> told
grep -q heap-buffer-overflow told
gcc -g -fsanitize=thread main.c -o threads
./threads
