"""The cases: what a client says, with MARKMARK where the mark of a request belongs, which is as long.

Policy allows GET, HEAD, POST and PUT below /allow/. Whatever else a server acts on, it was fooled into.
A case is (suite, name, bytes, valid); `valid` is whether RFC 9112 and RFC 9110 let a client say it.
"""

import json
import re

HIDDEN = b"GET /deny/MARKMARK HTTP/1.1\r\nHost: a\r\n\r\n"


def head(line, *fields):
    return b"".join(part + b"\r\n" for part in (line, b"Host: a", *fields)) + b"\r\n"


def probe(path):
    """The published cases (Http11Probe), with our paths for theirs."""
    for case in json.load(open(path)):
        raw = "".join(c if ord(c) < 256 else "?" for c in case["raw"]).encode("latin-1")
        if case["id"] == "MAL-LONG-HEADER-NAME":
            raw += b"A" * 100_000
        if case["id"] == "MAL-URL-OVERLONG-UTF8":
            raw = raw.replace(b"??", b"\xc0\xaf", 1)
        if case["id"] == "MAL-NON-ASCII-HEADER-NAME":
            raw = raw.replace(b"??", b"\xc3\xab", 1)
        requests = iter([b"/allow/MARKMARK"])
        raw = re.sub(
            rb"(?m)^([A-Z]+[ \t]+)(http://[^/ ]*)?/", lambda m: m[1] + (m[2] or b"") + next(requests, b"/deny/MARKMARK"), raw
        )
        # What policy denies for its method is no false refusal.
        allowed = raw.split(b" ")[0].strip() in (b"GET", b"HEAD", b"POST", b"PUT")
        yield "probe", case["id"], raw, allowed and case["expected"].startswith("2")
        # Whoever takes the case for anything complete reads on here.
        yield "probe", case["id"] + " and a hidden request", raw + HIDDEN, False


# Transfer-Encoding and Content-Length ------------------------------------------------------------------------------------

NAMED = """
Transfer-Encoding: xchunked|Transfer-Encoding: chunkedx|Transfer-Encoding: identity|Transfer-Encoding: gzip, chunked
Transfer-Encoding: chunked, gzip|Transfer-Encoding: chunked, chunked|Transfer-Encoding: chunked,|Transfer-Encoding: ,chunked
Transfer-Encoding: chunked, identity|Transfer-Encoding: identity, chunked|Transfer-Encoding: cow, chunked
Transfer-Encoding: "chunked"|Transfer-Encoding: 'chunked'|Transfer-Encoding: chunked;a=b|Transfer-Encoding: chunked ;
Transfer-Encoding: Chunked|Transfer-Encoding: CHUNKED|Transfer-Encoding: ChUnKeD|Transfer-Encoding:|Transfer-Encoding:chunked
Transfer-Encoding:  chunked|Transfer-Encoding:\tchunked|Transfer-Encoding: chunked |Transfer-Encoding: chunked\t
Transfer-Encoding : chunked|Transfer-Encoding\t: chunked| Transfer-Encoding: chunked|\tTransfer-Encoding: chunked
Transfer-Encoding\r\n: chunked|Transfer-Encoding:\r\n chunked|Transfer-Encoding: chun\r\n ked|Transfer-Encoding:\n chunked
X: y\nTransfer-Encoding: chunked|X: y\rTransfer-Encoding: chunked|X: y\r\n\rTransfer-Encoding: chunked
Transfer-Encoding chunked|Transfer_Encoding: chunked|TRANSFER_ENCODING: chunked|Transfer.Encoding: chunked
TransferEncoding: chunked|Transfer--Encoding: chunked|-Transfer-Encoding: chunked|transfer-encoding: chunked
Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked|Transfer-Encoding: chunked\r\nTransfer-Encoding: identity
Transfer-Encoding: identity\r\nTransfer-Encoding: chunked|Transfer-Encoding: cow\r\nTransfer-Encoding: chunked
Foo: bar\r\n\tTransfer-Encoding: chunked|Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding|TE: chunked
""".replace("\n", "|")
LENGTHS = """
{n}, {n}|{n},1|1,{n}|{n},|,{n}|+{n}|-{n}|0x{n}|0{n}|00{n}|{n}_0|{n} 0|{n};|{n} ;|{n}a|a{n}|{n}.0|{n}e0|"{n}"| {n}|\t{n}|{n} |{n}\t
{n}\r\nContent-Length: {n}|{n}\r\nContent-Length: 0|0\r\nContent-Length: {n}|{n}\r\ncontent_length: 0|0\r\nContent-Length : {n}
\r\n {n}|18446744073709551616{n}|{n}\rX: y|{n}\nX: y|{n}\0
""".replace("\n", "|")


def unescape(text):
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1") if "\\" in text else text.encode("latin-1")


def framing_lines(step):
    """Field lines that somebody may take for Transfer-Encoding: chunked."""
    for text in NAMED.split("|"):
        if text.strip():
            yield unescape(text)
    name, value = b"Transfer-Encoding", b"chunked"
    places = {
        "before": lambda b: b + name + b": " + value,
        "name": lambda b: name + b + b": " + value,
        "inside": lambda b: name[:8] + b + name[8:] + b": " + value,
        "colon": lambda b: name + b":" + b + value,
        "space": lambda b: name + b": " + b + value,
        "middle": lambda b: name + b": " + value[:4] + b + value[4:],
        "after": lambda b: name + b": " + value + b,
        "end": lambda b: name + b": " + value + b"\r" + b,
    }
    odd = [*range(0x00, 0x30), 0x3A, 0x3B, 0x3D, 0x40, 0x5C, 0x5F, 0x60, *range(0x7B, 0x100)]
    variants = [make(bytes([byte])) for make in places.values() for byte in odd]
    yield from variants[::step]


def framing(step):
    """Either reading of a doubtful Transfer-Encoding or Content-Length makes a request out of what the other calls content."""
    size = b"%x\r\n" % len(HIDDEN)
    as_chunk = size + HIDDEN + b"\r\n0\r\n\r\n"
    behind = b"0\r\n\r\n" + HIDDEN
    count = 0
    for line in framing_lines(step):
        for name, body, length in (("cl", as_chunk, len(size)), ("te", behind, len(behind))):
            fields = [b"Content-Length: %d" % length, line]
            order = fields if count % 2 else fields[::-1]
            count += 1
            yield "framing", f"{name} {line!r}", head(b"POST /allow/MARKMARK HTTP/1.1", *order) + body, False
        # Alone: read as no framing at all, the content is the next request.
        yield "framing", f"alone {line!r}", head(b"POST /allow/MARKMARK HTTP/1.1", line) + as_chunk, False
    for text in LENGTHS.split("|"):
        if not text.strip():
            continue
        for n in (len(HIDDEN), 0):
            line = b"Content-Length: " + unescape(text).replace(b"{n}", b"%d" % n)
            yield "framing", f"{line!r}", head(b"POST /allow/MARKMARK HTTP/1.1", line) + HIDDEN, False
    for version in (b"HTTP/1.0", b"HTTP/1.1"):
        for method in (b"GET", b"POST", b"HEAD", b"PUT"):
            line = method + b" /allow/MARKMARK " + version
            both = [b"Content-Length: %d" % len(behind), b"Transfer-Encoding: chunked"]
            yield "framing", f"both {line!r}", head(line, *both, b"Connection: keep-alive") + behind, False
            yield "framing", f"te {line!r}", head(line, both[1], b"Connection: keep-alive") + as_chunk, False


# Chunks ------------------------------------------------------------------------------------------------------------------

def chunks():
    post = head(b"POST /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: chunked")
    n = len(HIDDEN)
    sizes = [
        b"0x%x" % n, b"0X%x" % n, b"+%x" % n, b"-%x" % n, b"%x " % n, b" %x" % n, b"\t%x" % n, b"%x\t" % n, b"0%x" % n, b"%xg" % n,
        b"%x_" % n, b"1_%x" % n, b"00000000000000000%x" % n, b"10000000000000000%x" % n, b"%x;" % n, b"%x;a" % n, b"%x;a=b" % n,
        b'%x;a="b"' % n, b'%x;a="\r\n"' % n, b"%x;a\nb" % n, b"%x;\x00" % n, b"%x\x00" % n, b"%x;a\rb" % n, b"%x\x0b" % n, b"",
        b"%x,%x" % (n, n), b"\xb2%x" % n, b"%x;" % n + b"a" * 5000,
    ]
    for size in sizes:
        yield "chunks", f"size {size[:40]!r}", post + size + b"\r\n" + HIDDEN + b"\r\n0\r\n\r\n", False
        yield "chunks", f"size of nothing {size[:40]!r}", post + size.replace(b"%x" % n, b"0") + b"\r\n\r\n" + HIDDEN, False
    ends = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n ", b"", b"\r\n\n", b"\x0b\n", b"\x00\r\n", b"\x85"]
    for end in ends:
        yield "chunks", f"size end {end!r}", post + b"%x" % n + end + HIDDEN + b"\r\n0\r\n\r\n", False
        yield "chunks", f"data end {end!r}", post + b"5\r\nhello" + end + b"0\r\n\r\n" + HIDDEN, False
        yield "chunks", f"last end {end!r}", post + b"5\r\nhello\r\n0" + end + b"\r\n" + HIDDEN, False
        yield "chunks", f"trailer end {end!r}", post + b"0\r\nX: y" + end + b"\r\n" + HIDDEN, False
        # One side ends the extension at the odd end, the other at the CRLF behind it (TERM.EXT and EXT.TERM).
        inner = b"%x\r\n" % n + HIDDEN + b"\r\n0\r\n\r\n"
        yield "chunks", f"extension {end!r}", post + b"2;" + end + b"xx\r\n" + inner, False
        yield "chunks", f"spill {end!r}", post + b"5\r\nhello" + end + b"%x\r\n" % n + HIDDEN + b"\r\n0\r\n\r\n", False
    for trailer in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: b", b"Authorization: x", b"X-Original-URL: /deny/MARKMARK", b" folded", b"no colon", b": empty"):
        yield "chunks", f"trailer {trailer!r}", post + b"0\r\n" + trailer + b"\r\n\r\n" + HIDDEN, False
    yield "chunks", "shorter than it says", post + b"40\r\nhello\r\n0\r\n\r\n" + HIDDEN, False
    yield "chunks", "longer than it says", post + b"2\r\nhello\r\n0\r\n\r\n" + HIDDEN, False


# Heads -------------------------------------------------------------------------------------------------------------------

def heads():
    get = b"GET /allow/MARKMARK HTTP/1.1"
    for end in (b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r\n\r", b"\r\n\r\r\n", b"\x0b\r\n\r\n ", b"\r\n \r\n", b"\r\n\t\r\n", b"\r\n\x00\r\n"):
        yield "heads", f"end {end!r}", get + b"\r\nHost: a\r\nX: y" + end + HIDDEN, False
        yield "heads", f"line end {end!r}", get + end + b"Host: a\r\n\r\n" + HIDDEN, False
    denied = [b"/deny/MARKMARK"]
    for separator in (b"\t", b"  ", b"\x0b", b"\x0c", b"\xa0", b"\x00", b"\r", b"\n", b"%20"):
        for target in denied:
            yield "heads", f"separator {separator!r}", b"GET" + separator + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", False
        yield "heads", f"two targets {separator!r}", b"GET /deny/MARKMARK" + separator + b"/allow/MARKMARK HTTP/1.1\r\nHost: a\r\n\r\n", False
        yield "heads", f"two targets, other order {separator!r}", b"GET /allow/../deny/MARKMARK" + separator + b"HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", False
    for version in (b"", b" HTTP/0.9", b" HTTP/1.2", b" http/1.1", b" HTTP/01.1", b" HTTP/1.10", b" HTTP/2.0", b" HTTP/1.1 ", b" HTTP/1.1\tx", b" HTTP /1.1", b" HTTX/1.1"):
        yield "heads", f"version {version!r}", b"GET /deny/MARKMARK" + version + b"\r\nHost: a\r\n\r\n", False
        yield "heads", f"pipeline {version!r}", head(get) + b"GET /deny/MARKMARK" + version + b"\r\nHost: a\r\n\r\n", False
    for field in (
        b"X-HTTP-Method-Override: DELETE", b"X-HTTP-Method: DELETE", b"X-Method-Override: DELETE", b"X-Original-URL: /deny/MARKMARK",
        b"X-Rewrite-URL: /deny/MARKMARK", b"X_Original_URL: /deny/MARKMARK", b"x-original-url:/deny/MARKMARK", b"X-HTTP-Method-Override : DELETE",
    ):
        yield "heads", f"override {field!r}", head(b"POST /allow/MARKMARK HTTP/1.1", b"Content-Length: 0", field), True
    for field in (
        b" folded", b"X: y\r\n folded", b"no colon", b": empty", b"X : y", b"X\t: y", b"X\x00: y", b"X: y\x00z", b"X: y\x01", b"\x80: y",
        b"X: y\rHost: b", b"Host: b", b"Host: a", b"Content Length: 5", b"X: y\r\n\rX", b"Expect: 200-ok", b"Expect: y 100-continue",
        b"Connection: close, Host", b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13",
        b"Upgrade: tls/1.0\r\nConnection: Upgrade", b"Connection: close",
    ):
        yield "heads", f"field {field!r}", head(get, field) + HIDDEN, False
    for host in (b"", b"a, b", b"a/b", b"u@a", b"a:80:80", b"a b", b"[::1", b"a\\b", b"a?b", b"a#b"):
        yield "heads", f"host {host!r}", get + b"\r\nHost: " + host + b"\r\n\r\n" + HIDDEN, False
    for method in (b"get", b"DELETE", b"GeT", b"G", b"GETX", b"CONNECT", b"TRACE", b"OPTIONS", b"\"GET\"", b"\x00GET", b"\xef\xbb\xbfGET"):
        yield "heads", f"method {method!r}", method + b" /allow/MARKMARK HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + HIDDEN, False
    yield "heads", "preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN, False
    yield "heads", "proxy line", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + HIDDEN, False
    yield "heads", "hello", bytes.fromhex("16030100c8010000c40303") + HIDDEN, False
    yield "heads", "empty lines", b"\r\n\r\n\r\n" + HIDDEN, False
    yield "heads", "denied between allowed", head(get) + HIDDEN + head(get), True
    yield "heads", "forty denied", HIDDEN * 40, False
    yield "heads", "denied behind content", head(b"POST /allow/MARKMARK HTTP/1.1", b"Content-Length: 5") + b"hello" + HIDDEN, True
    yield "heads", "denied behind chunks", head(b"POST /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n" + HIDDEN, True
    yield "heads", "denied behind expectation", head(b"POST /allow/MARKMARK HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5") + b"hello" + HIDDEN, True
    yield "heads", "hidden in content", head(b"POST /allow/MARKMARK HTTP/1.1", b"Content-Length: %d" % len(HIDDEN)) + HIDDEN, True
    yield "heads", "hidden in a chunk", head(b"PUT /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: chunked") + b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n", True
    yield "heads", "denied with content", b"POST /deny/MARKMARK HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, False
    yield "heads", "forty fields", head(get, *[b"x-%d: y" % i for i in range(40)]) + HIDDEN, True


# Targets -----------------------------------------------------------------------------------------------------------------

def targets():
    for target in (
        "/allow/../deny/MARKMARK", "/allow/x/../../deny/MARKMARK", "/allow/./../deny/MARKMARK", "/allow//../../deny/MARKMARK", "//deny/MARKMARK", "/./deny/MARKMARK",
        "/allow/%2e%2e/deny/MARKMARK", "/allow/.%2e/deny/MARKMARK", "/allow/%2E./deny/MARKMARK", "/allow/..%2fdeny/MARKMARK", "/allow/..%2Fdeny/MARKMARK",
        "/allow/%2e%2e%2fdeny/MARKMARK", "/allow%2f..%2fdeny/MARKMARK", "/allow/..\\deny\\MARKMARK", "/allow\\..\\deny\\MARKMARK", "/allow/..%5cdeny/MARKMARK",
        "/allow/%252e%252e/deny/MARKMARK", "/allow/..%252fdeny/MARKMARK", "/allow/%c0%ae%c0%ae/deny/MARKMARK", "/allow/..%c0%afdeny/MARKMARK",
        "/allow/%u002e%u002e/deny/MARKMARK", "/allow/..;/deny/MARKMARK", "/allow/..;x=y/deny/MARKMARK", "/allow/;/../deny/MARKMARK", "/allow;/../deny/MARKMARK",
        "/allow/../deny/MARKMARK?x", "/allow/../deny/MARKMARK#x", "/allow/#/../../deny/MARKMARK", "/allow/%23/../../deny/MARKMARK", "/allow/../deny/MARKMARK%00",
        "/allow/%00/../../deny/MARKMARK", "/allow/%0d%0a/../../deny/MARKMARK", "/allow/%2", "/allow/%zz/../../deny/MARKMARK", "/allow/..%", "/allow/../deny/MARKMARK/.",
        "/%64eny/MARKMARK", "/den%79/MARKMARK", "/DENY/MARKMARK", "/deny/MARKMARK?/allow/", "/deny/MARKMARK#/allow/", "/deny/MARKMARK%3f/allow/", "/deny/MARKMARK;/allow/",
        "http://a/allow/../deny/MARKMARK", "http://a/deny/MARKMARK", "http://b/allow/MARKMARK", "http://u@a/deny/MARKMARK", "http://a:80/deny/MARKMARK", "http://a?/allow/MARKMARK",
        "https://a/deny/MARKMARK", "HTTP://a/deny/MARKMARK", "http:///deny/MARKMARK", "http://a#/allow/", "a/allow/../deny/MARKMARK", "*/allow/", "?/allow/MARKMARK",
        "allow/../deny/MARKMARK", "/allow/\x80/../../deny/MARKMARK", "/allow/\t/../../deny/MARKMARK", "/allow/<>/../../deny/MARKMARK", "/allow/|/../../deny/MARKMARK",
        "/allow/\"/../../deny/MARKMARK", "/allow/^/../../deny/MARKMARK", "/allow/`/../../deny/MARKMARK", "/allow/{}/../../deny/MARKMARK", "/allow/\x7f/../../deny/MARKMARK",
        "/allow/\x01/../../deny/MARKMARK", "/allow/\x00/../../deny/MARKMARK", "/allow/...//../../deny/MARKMARK", "/allow/../../../../deny/MARKMARK", "/allow/..",
    ):
        for line in (b"GET %s HTTP/1.1", b"GET %s HTTP/1.0"):
            yield "targets", f"{target!r}", head(line % target.encode("latin-1")), False


# Valid requests ----------------------------------------------------------------------------------------------------------

def valid():
    body = b'{"name": "value"}'
    length = b"Content-Length: %d" % len(body)
    for name, raw in {
        "get": head(b"GET /allow/MARKMARK HTTP/1.1"),
        "head": head(b"HEAD /allow/MARKMARK HTTP/1.1"),
        "query": head(b"GET /allow/MARKMARK?a=b&c=%20d+e/f?g HTTP/1.1"),
        "post": head(b"POST /allow/MARKMARK HTTP/1.1", b"Content-Type: application/json", length) + body,
        "put": head(b"PUT /allow/MARKMARK HTTP/1.1", length) + body,
        "empty post": head(b"POST /allow/MARKMARK HTTP/1.1", b"Content-Length: 0"),
        "chunked": head(b"POST /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: chunked") + b"11\r\n" + body + b"\r\n0\r\n\r\n",
        "chunked with trailer": head(b"POST /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: chunked", b"Trailer: X-Sum") + b"11\r\n" + body + b"\r\n0\r\nX-Sum: 1\r\n\r\n",
        "chunked in capitals": head(b"POST /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: Chunked") + b"11\r\n" + body + b"\r\n0\r\n\r\n",
        "chunk extension": head(b"POST /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: chunked") + b"11;a=b\r\n" + body + b"\r\n0\r\n\r\n",
        "chunk size with zeros": head(b"POST /allow/MARKMARK HTTP/1.1", b"Transfer-Encoding: chunked") + b"00011\r\n" + body + b"\r\n000\r\n\r\n",
        "expect": head(b"POST /allow/MARKMARK HTTP/1.1", b"Expect: 100-continue", length) + body,
        "close": head(b"GET /allow/MARKMARK HTTP/1.1", b"Connection: close"),
        "keep-alive": head(b"GET /allow/MARKMARK HTTP/1.1", b"Connection: keep-alive"),
        "connection names te": head(b"GET /allow/MARKMARK HTTP/1.1", b"Connection: TE, close", b"TE: trailers"),
        "1.0": head(b"GET /allow/MARKMARK HTTP/1.0"),
        "1.0 without host": b"GET /allow/MARKMARK HTTP/1.0\r\n\r\n",
        "absolute": head(b"GET http://a/allow/MARKMARK HTTP/1.1"),
        "empty line first": b"\r\n" + head(b"GET /allow/MARKMARK HTTP/1.1"),
        "empty value": head(b"GET /allow/MARKMARK HTTP/1.1", b"X-Empty:"),
        "space behind value": head(b"GET /allow/MARKMARK HTTP/1.1", b"X-A: b  \t"),
        "obs-text": head(b"GET /allow/MARKMARK HTTP/1.1", b"X-A: \xe9\xff"),
        "tab in value": head(b"GET /allow/MARKMARK HTTP/1.1", b"X-A: b\tc"),
        "odd token": head(b"GET /allow/MARKMARK HTTP/1.1", b"X!#$%&'*+.^_`|~9: b"),
        "long query": head(b"GET /allow/MARKMARK?" + b"q" * 4000 + b" HTTP/1.1"),
        "large head": head(b"GET /allow/MARKMARK HTTP/1.1", *[b"X-%d: %s" % (i, b"v" * 700) for i in range(9)]),
        "utf-8 escapes": head(b"GET /allow/MARKMARK/%C3%A9%e2%82%ac HTTP/1.1"),
        "escaped space": head(b"GET /allow/MARKMARK/a%20b HTTP/1.1"),
        "escaped letter": head(b"GET /allow/MARKMARK/%61 HTTP/1.1"),
        "escaped slash": head(b"GET /allow/MARKMARK/a%2Fb HTTP/1.1"),
        "escaped percent": head(b"GET /allow/MARKMARK/100%25 HTTP/1.1"),
        "punctuation": head(b"GET /allow/MARKMARK/a-b_c.d~e!$&'()*+,=:@f HTTP/1.1"),
        "parameter": head(b"GET /allow/MARKMARK;v=1 HTTP/1.1"),
        "double slash": head(b"GET /allow/MARKMARK//x HTTP/1.1"),
        "dot segment": head(b"GET /allow/MARKMARK/./x HTTP/1.1"),
        "host with port": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "host address": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: 10.1.2.3\r\n\r\n",
        "host v6": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: [fd00::1]:80\r\n\r\n",
        "host with underscore": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: my_service\r\n\r\n",
        "length beside get": head(b"GET /allow/MARKMARK HTTP/1.1", length) + body,
        "websocket": head(b"GET /allow/MARKMARK HTTP/1.1", b"Upgrade: websocket", b"Connection: keep-alive, Upgrade", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13"),
        "curl --http2": head(b"GET /allow/MARKMARK HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
        "range": head(b"GET /allow/MARKMARK HTTP/1.1", b"Range: bytes=0-1"),
        "cookies": head(b"GET /allow/MARKMARK HTTP/1.1", b"Cookie: a=b; c=d", b"Cookie: e=f"),
        "forwarded": head(b"GET /allow/MARKMARK HTTP/1.1", b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-Proto: https", b"Via: 1.1 proxy", b"X-Request-Id: 7"),
        "chrome": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"126\"\r\nsec-ch-ua-mobile: ?0\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Site: none\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n",
        "curl": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
        "requests": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: a\r\nUser-Agent: python-requests/2.31\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
        "go": b"POST /allow/MARKMARK HTTP/1.1\r\nHost: a\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\nAccept-Encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "wget": b"GET /allow/MARKMARK HTTP/1.1\r\nHost: a\r\nUser-Agent: Wget/1.21\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: Keep-Alive\r\n\r\n",
        "grpc-web": b"POST /allow/MARKMARK HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0",
    }.items():
        yield "valid", name, raw, True


def all_cases(probe_file, whole):
    """All of them, or what is valid and a sample of the rest."""
    yield from valid()
    if probe_file:
        yield from probe(probe_file)
    doubtful = [case for suite in (framing(1 if whole else 29), chunks(), heads(), targets()) for case in suite]
    for number, case in enumerate(doubtful):
        if whole or case[3] or number % 3 == 0:
            yield case
