# what: gcc, make, a shared library, threads, run
# needs: gcc make
cat > main.c <<'END'
#include <pthread.h>
#include <stdio.h>
int add(int, int);
static void *run(void *arg) { *(int *)arg = add(20, 22); return 0; }
int main(void) {
    pthread_t thread;
    int answer = 0;
    pthread_create(&thread, 0, run, &answer);
    pthread_join(thread, 0);
    printf("%d\n", answer);
    return answer != 42;
}
END
echo 'int add(int a, int b) { return a + b; }' > add.c
printf 'main: main.c libadd.so\n\tgcc -O2 -Wall -pthread main.c -o main -L. -ladd -Wl,-rpath,$(CURDIR)\nlibadd.so: add.c\n\tgcc -fPIC -shared add.c -o libadd.so\n' > Makefile
make -s -j 2
[ "$(./main)" = 42 ]
gcc -static -pthread main.c add.c -o still
[ "$(./still)" = 42 ]
[ "$(make -s main; make -q main; echo $?)" = 0 ]
