# what: java: compile, threads, garbage collection
# needs: java
cat > Main.java <<'END'
import java.util.stream.IntStream;

public class Main {
    public static void main(String[] arguments) throws Exception {
        byte[][] blocks = new byte[64][];
        for (int i = 0; i < 4096; i++) blocks[i % 64] = new byte[1 << 16];
        Thread[] threads = new Thread[4];
        int[] sums = new int[4];
        for (int i = 0; i < 4; i++) {
            int n = i;
            threads[i] = new Thread(() -> sums[n] = IntStream.range(0, 100000).parallel().map(x -> n).sum() / 100000);
            threads[i].start();
        }
        for (Thread thread : threads) thread.join();
        System.gc();
        System.out.println(IntStream.of(sums).sum() * 7);
    }
}
END
java --list-modules | holds '^jdk.compiler' || { echo 'it has no compiler'; exit 77; }
[ "$(java Main.java)" = 42 ]
