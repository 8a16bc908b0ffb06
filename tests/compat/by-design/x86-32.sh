# what: calls of 32-bit x86
# needs: gcc
[ "$(uname -m)" = x86_64 ] || { echo "it is another machine"; exit 77; }
cat > main.c <<'END'
int main(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
    return result > 0 ? 0 : 3;
}
END
gcc main.c -o main
fails ./main 2> /dev/null
