# what: multiprocessing: Pool, semaphores, shared memory, spawn, Manager, process pool of futures
# needs: python3
cat > main.py <<'END'
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory


def square(number):
    return number * number


def work(semaphore, lock, counter, name):
    memory = shared_memory.SharedMemory(name=name)
    for _ in range(100):
        with semaphore, lock:
            counter.value += 1
    memory.buf[0] = 42
    memory.close()


if __name__ == "__main__":
    with mp.Pool(4) as pool:
        assert pool.map(square, range(100)) == [n * n for n in range(100)]
    with ProcessPoolExecutor(2, mp_context=mp.get_context("spawn")) as pool:
        assert list(pool.map(square, [1, 2, 3])) == [1, 4, 9]
    semaphore, lock, counter = mp.BoundedSemaphore(2), mp.Lock(), mp.Value("i", 0)
    memory = shared_memory.SharedMemory(create=True, size=4096)
    processes = [mp.Process(target=work, args=(semaphore, lock, counter, memory.name)) for _ in range(4)]
    [process.start() for process in processes]
    [process.join() for process in processes]
    assert all(process.exitcode == 0 for process in processes)
    assert counter.value == 400 and memory.buf[0] == 42
    memory.close()
    memory.unlink()
    with mp.Manager() as manager:
        shared = manager.dict()
        process = mp.Process(target=shared.update, args=({"key": 1},))
        process.start()
        process.join()
        assert dict(shared) == {"key": 1}
    print("flying")
END
[ "$(python3 -W error main.py)" = flying ]
