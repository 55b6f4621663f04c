"""Says every case to every server through plain sockets, then asks the servers' own logs what they acted on.

    attacker.py NAME=ADDRESS... --logs DIRECTORY [--probe FILE] [--whole]

Prints JSON: for each server the cases that made it act on what policy denies, and how it answered the valid ones.
"""

import argparse
import asyncio
import json
import re
import sys
import time

import cases

ALLOWED = ("GET", "HEAD", "POST", "PUT")
# How long a first answer may take, and how long one may wait for another.
FIRST, NEXT, AT_ONCE = 1.0, 0.12, 240


async def say(address, raw):
    """The statuses of what came back, or what became of the connection."""
    received = b""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, 80), 5)
    except (OSError, asyncio.TimeoutError):
        return ["no connection"]
    try:
        writer.write(raw)
        patience = FIRST
        while len(received) < 65536:
            more = await asyncio.wait_for(reader.read(4096), patience)
            if not more:
                break
            received += more
            patience = NEXT
    except asyncio.TimeoutError:
        pass
    except OSError:
        if not received:
            received = b"HTTP/1.1 reset"
    finally:
        writer.transport.abort()
    return [status.decode() for status in re.findall(rb"HTTP/1\.[01] (\d{3}|reset)", received)]


def acted_on(line):
    """The mark of a request that policy denies, if the line of a log shows one."""
    method, _, path = line.partition(" ")
    mark = re.search(r"m(\d+)x", path)
    if mark is None:
        return None
    allowed = method in ALLOWED and path.startswith("/allow/")
    return None if allowed else int(mark[1])


def heard(line):
    mark = re.search(r"m(\d+)x", line)
    return int(mark[1]) if mark else None


async def run(servers, chosen):
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(server, number, raw):
        async with gate:
            return server, number, await say(servers[server], raw.replace(b"MARKMARK", b"m%06dx" % number))

    jobs = [one(server, number, case[2]) for number, case in enumerate(chosen) for server in servers]
    return await asyncio.gather(*jobs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("servers", nargs="+")
    parser.add_argument("--logs", required=True)
    parser.add_argument("--probe")
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    servers = dict(pair.split("=", 1) for pair in options.servers)
    chosen = list(cases.all_cases(options.probe, options.whole))
    logs = {name: open(f"{options.logs}/{name}.log", encoding="utf-8", errors="replace") for name in servers}
    for log in logs.values():
        log.seek(0, 2)

    start = time.monotonic()
    answers = {name: {} for name in servers}
    for server, number, statuses in asyncio.run(run(servers, chosen)):
        answers[server][number] = statuses

    # One more request to each: when it is in the log, everything before it is.
    last = len(chosen)
    lines = {name: [] for name in servers}
    for name, address in servers.items():
        deadline = time.monotonic() + 10
        asyncio.run(say(address, b"GET /allow/m%06dx HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % last))
        while not any(heard(line) == last for line in lines[name]):
            if time.monotonic() > deadline:
                sys.exit(f"{name} did not note the last request")
            lines[name] += logs[name].readlines()

    report = {"cases": {}, "seconds": 0, "servers": {}}
    for suite, *_ in chosen:
        report["cases"][suite] = report["cases"].get(suite, 0) + 1
    for name in servers:
        fooled = sorted({number for line in lines[name] if (number := acted_on(line)) is not None and number < last})
        valid = {
            f"{suite}: {case}": (answers[name][number] or ["silence"])[0]
            for number, (suite, case, _, is_valid) in enumerate(chosen)
            if is_valid
        }
        report["servers"][name] = {
            "heard": len({heard(line) for line in lines[name]} - {None, last}),
            "acted": [f"{chosen[number][0]}: {chosen[number][1]}" for number in fooled],
            "valid": valid,
        }
    report["seconds"] = round(time.monotonic() - start, 1)
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
