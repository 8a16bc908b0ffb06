# what: asyncio: server and client on localhost, subprocess, signals; IPv6 loopback
# needs: python3
cat > main.py <<'END'
import asyncio
import os
import signal


async def serve(reader, writer):
    line = await reader.readline()
    writer.write(line.upper())
    await writer.drain()
    writer.close()


async def ask(host, number):
    server = await asyncio.start_server(serve, host, 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"line {number}\n".encode())
    told = await reader.readline()
    writer.close()
    server.close()
    return told


async def main():
    told = await asyncio.gather(*[ask("localhost", number) for number in range(50)])
    assert told == [f"LINE {number}\n".encode() for number in range(50)]
    assert await ask("::1", 6) == b"LINE 6\n"
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    assert (await process.communicate(b"through"))[0] == b"through"
    came = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(came.wait(), 5)
    print("flying")


asyncio.run(main())
END
[ "$(python3 main.py)" = flying ]
