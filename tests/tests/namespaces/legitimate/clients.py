"""Honest clients, many at a time, each with a conversation of its own; every byte that comes back is compared.

    clients.py ADDRESS CONNECTIONS SEED

Prints JSON: connections and requests made, and what went wrong (which should be nothing).
"""

import asyncio
import base64
import hashlib
import json
import os
import random
import sys
import time

AT_ONCE, PATIENCE = 48, 120
ALL = bytes((i * 7 + (i >> 8)) & 255 for i in range(1 << 16))


def pattern(length):
    return (ALL * (length // len(ALL) + 1))[:length]


class Wrong(Exception):
    pass


class Client:
    def __init__(self, reader, writer, dice):
        self.reader, self.writer, self.dice = reader, writer, dice
        self.requests = 0

    async def send(self, data):
        """In pieces, sometimes with time between them."""
        if self.dice.random() < 0.3 and len(data) < 4000:
            while data:
                size = self.dice.randrange(1, 1 + len(data))
                self.writer.write(data[:size])
                data = data[size:]
                await asyncio.sleep(0.001)
        else:
            self.writer.write(data)
        await self.writer.drain()

    async def head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), fields

    async def answer(self, to_head=False):
        status, fields = await self.head()
        if to_head:
            return status, b""
        if b"content-length" in fields:
            return status, await self.reader.readexactly(int(fields[b"content-length"]))
        if fields.get(b"transfer-encoding") == b"chunked":
            content = b""
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                content += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
            return status, content
        return status, await self.reader.read()

    async def expect(self, status, content, to_head=False):
        self.requests += 1
        got = await self.answer(to_head)
        if got[0] != status or (not to_head and content is not None and got[1] != content):
            raise Wrong(f"status {got[0]} with {len(got[1])} bytes {got[1][:40]!r} for {status} with {content[:40] if content else b''!r}")

    def get(self, path, method="GET", more=""):
        return f"{method} {path} HTTP/1.1\r\nHost: server\r\nUser-Agent: clients\r\n{more}\r\n".encode()

    def echoed(self, method, content):
        return f"{method} {len(content)} {hashlib.sha256(content).hexdigest()}\n".encode()

    def size(self):
        return self.dice.choice([0, 1, 100, 1460, 5000, 70_000, self.dice.randrange(300_000)])

    async def download(self):
        size, kind = self.size(), self.dice.choice(["bytes", "chunks"])
        await self.send(self.get(f"/allow/{kind}/{size}"))
        await self.expect(200, pattern(size))

    async def upload(self):
        content = self.dice.randbytes(self.size())
        method = self.dice.choice(["POST", "PUT"])
        await self.send(self.get("/allow/x", method, f"Content-Length: {len(content)}\r\n") + content)
        await self.expect(200, self.echoed(method, content))

    async def upload_in_chunks(self):
        content = self.dice.randbytes(self.size())
        body, at = b"", 0
        while at < len(content):
            size = self.dice.randrange(1, 20_000)
            part = content[at : at + size]
            body += b"%x\r\n" % len(part) + part + b"\r\n"
            at += size
        await self.send(self.get("/allow/x", "POST", "Transfer-Encoding: chunked\r\n") + body + b"0\r\n\r\n")
        await self.expect(200, self.echoed("POST", content))

    async def expectation(self):
        content = self.dice.randbytes(5000)
        await self.send(self.get("/allow/x", "POST", f"Content-Length: {len(content)}\r\nExpect: 100-continue\r\n"))
        status, _ = await self.head()
        if status != 100:
            raise Wrong(f"status {status} for 100")
        await self.send(content)
        await self.expect(200, self.echoed("POST", content))

    async def ask_for_head(self):
        await self.send(self.get("/allow/x", "HEAD"))
        await self.expect(200, None, to_head=True)

    async def denied(self):
        content = self.dice.randbytes(self.dice.choice([0, 900]))
        await self.send(self.get("/private", "POST", f"Content-Length: {len(content)}\r\n") + content)
        await self.expect(403, b"Access denied\r\n")

    async def pipeline(self):
        sizes = [self.dice.randrange(20_000) for _ in range(self.dice.randrange(2, 8))]
        denied = self.dice.randrange(len(sizes) + 1)
        requests = [self.get(f"/allow/bytes/{size}") for size in sizes]
        requests.insert(denied, self.get("/private"))
        await self.send(b"".join(requests))
        for index, size in enumerate(sizes):
            if index == denied:
                await self.expect(403, b"Access denied\r\n")
            await self.expect(200, pattern(size))
        if denied == len(sizes):
            await self.expect(403, b"Access denied\r\n")

    async def websocket(self):
        key = base64.b64encode(os.urandom(16)).decode()
        await self.send(self.get("/allow/socket", more=f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"))
        status, _ = await self.head()
        if status != 101:
            raise Wrong(f"status {status} for 101")
        self.requests += 1
        for _ in range(self.dice.randrange(1, 6)):
            frame = self.dice.randbytes(self.dice.choice([2, 130, 70_000]))
            # What would be a denied request, were this still HTTP.
            frame += b"GET /private HTTP/1.1\r\nHost: server\r\n\r\n"
            echo = asyncio.ensure_future(self.reader.readexactly(len(frame)))
            await self.send(frame)
            if await echo != frame:
                raise Wrong("the echo differs")

    async def half_close(self):
        content = self.dice.randbytes(self.size())
        await self.send(self.get("/allow/x", "POST", f"Content-Length: {len(content)}\r\nConnection: close\r\n") + content)
        self.writer.write_eof()
        await self.expect(200, self.echoed("POST", content))
        if await self.reader.read():
            raise Wrong("something behind the end")

    async def converse(self):
        usual = [self.download, self.upload, self.upload_in_chunks, self.expectation, self.ask_for_head, self.denied, self.pipeline]
        for _ in range(self.dice.randrange(1, 7)):
            await self.dice.choice(usual)()
        await self.dice.choice([self.websocket, self.half_close, self.download])()


async def main():
    address, connections, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    gate, wrong, requests = asyncio.Semaphore(AT_ONCE), [], 0

    async def one(number):
        nonlocal requests
        async with gate:
            client = None
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(address, 80, limit=1 << 20), PATIENCE)
                client = Client(reader, writer, random.Random(seed * 1_000_000 + number))
                await asyncio.wait_for(client.converse(), PATIENCE)
                writer.close()
                await writer.wait_closed()
            except (OSError, Wrong, EOFError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
                wrong.append(f"connection {number}: {type(error).__name__}: {error}")
            requests += client.requests if client else 0

    start = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(connections)))
    json.dump({"connections": connections, "requests": requests, "seconds": round(time.monotonic() - start, 1), "wrong": wrong[:20], "wrongs": len(wrong)}, sys.stdout)


asyncio.run(main())
