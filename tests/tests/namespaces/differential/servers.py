"""Real HTTP servers that note every request they act on: `METHOD path`, a line each, in the file that is given.

    servers.py http.server LOG            Python's own, as `python -m http.server` runs it
    servers.py lenient-te|lenient-cl LOG  ours: takes what no server should, and believes the one or the other framing field
    gunicorn --chdir HERE servers:application     (LOG in the environment)
"""

import os
import posixpath
import re
import socket
import sys
import threading
from urllib.parse import unquote_to_bytes


class Log:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, method, path):
        line = f"{method} {path}".encode("utf-8", "backslashreplace").replace(b"\n", b"\\n")
        os.write(self.file, line + b"\n")


# gunicorn ---------------------------------------------------------------------------------------------------------------

def application(environ, start_response):
    Log(os.environ["LOG"]).note(environ["REQUEST_METHOD"], environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\n"]


# http.server ------------------------------------------------------------------------------------------------------------

def serve_python(port, log):
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Handler(SimpleHTTPRequestHandler):
        def act(self):
            # It takes an absolute target for a path; nobody who serves those would.
            target = re.sub("^http://[^/]*", "", self.path)
            path = os.path.relpath(self.translate_path(target), self.directory)
            log.note(self.command, "/" + path)
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"ok\n")

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = act

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    Server(("", port), Handler).serve_forever()


# The lenient one --------------------------------------------------------------------------------------------------------

def lenient_path(target):
    """What the most helpful framework makes of a target."""
    target = re.sub(rb"^[a-zA-Z]+://[^/]*", b"", target)
    target = re.split(rb"[?#]", target)[0]
    for _ in range(2):
        target = unquote_to_bytes(target)
    target = re.sub(rb"%u00(..)", lambda m: bytes([int(m[1], 16)]), target)
    target = target.replace(b"\\", b"/").replace(b"\xc0\xae", b".").replace(b"\xc0\xaf", b"/").split(b"\0")[0]
    target = re.sub(rb";[^/]*", b"", target)
    path = posixpath.normpath(re.sub(rb"/+", b"/", target).decode("latin-1") or "/")
    return path


class Lenient:
    def __init__(self, believes, log):
        self.believes = believes
        self.log = log

    def serve(self, port):
        listener = socket.create_server(("", port), backlog=256)
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=self.converse, args=(peer,), daemon=True).start()

    def converse(self, peer):
        peer.settimeout(20)
        self.peer_loop(peer)
        peer.close()

    def peer_loop(self, peer):
        buffer = bytearray()

        def fill():
            try:
                more = peer.recv(65536)
            except OSError:
                return False
            buffer.extend(more)
            return bool(more)

        def line():
            """Up to a line feed, whatever stands before it; a carriage return alone ends a line, too."""
            while True:
                ends = [buffer.find(b"\n"), buffer.find(b"\r")]
                ends = [end for end in ends if end >= 0]
                # Whether a carriage return is followed by a line feed is known only with the next byte.
                if ends and (min(ends) + 1 < len(buffer) or buffer[min(ends)] == 10):
                    end = min(ends)
                    taken = bytes(buffer[:end])
                    del buffer[: end + (2 if buffer[end : end + 2] == b"\r\n" else 1)]
                    return taken
                if not fill():
                    return None

        def exactly(count):
            while len(buffer) < count:
                if not fill():
                    return None
            taken = bytes(buffer[:count])
            del buffer[:count]
            return taken

        while True:
            first = line()
            while first is not None and not first.strip():
                first = line()
            if first is None:
                return
            words = first.split()
            if len(words) < 2:
                return
            method, target = words[0], words[1]
            fields = {}
            last = None
            while True:
                text = line()
                if text is None:
                    return
                if not text.strip():
                    break
                if text[:1] in b" \t" and last is not None:
                    fields[last] += text.strip()
                    continue
                name, _, value = text.partition(b":")
                last = re.sub(rb"[^a-z0-9]", b"", name.lower())
                fields.setdefault(last, b"")
                fields[last] += value.strip(bytes(range(33)) + b"\x7f\x85\xa0\"';,")
            if not self.content(fields, line, exactly, buffer):
                return
            method = fields.get(b"xhttpmethodoverride", fields.get(b"xhttpmethod", fields.get(b"xmethodoverride", method)))
            target = fields.get(b"xoriginalurl", fields.get(b"xrewriteurl", target))
            self.log.note(method.decode("latin-1").upper(), lenient_path(target))
            try:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + (b"" if method == b"HEAD" else b"ok\n"))
            except OSError:
                return

    def content(self, fields, line, exactly, buffer):
        encoding = fields.get(b"transferencoding")
        chunked = encoding is not None and b"chunked" in encoding.lower()
        length = re.search(rb"[0-9]+", fields.get(b"contentlength", b""))
        if chunked and (self.believes == "te" or length is None):
            while True:
                size = line()
                if size is None:
                    return False
                found = re.match(rb"[^0-9a-fA-F]*(?:0x)?([0-9a-fA-F]*)", size, re.IGNORECASE)
                count = int(found[1] or b"0", 16)
                if count == 0:
                    while (trailer := line()) is not None and trailer.strip():
                        pass
                    return trailer is not None
                if count > 1 << 24 or exactly(count) is None:
                    return False
                # The line end after the data may be any, or none.
                for end in (b"\r", b"\n"):
                    if not buffer and (peeked := exactly(1)) is not None:
                        buffer[:0] = peeked
                    if buffer[:1] == end:
                        del buffer[:1]
        elif length is not None:
            count = int(length[0][:12])
            return exactly(count) is not None
        return True


def main():
    kind = sys.argv[1]
    log = Log(sys.argv[2])
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 80
    if kind == "http.server":
        serve_python(port, log)
    elif kind in ("lenient-te", "lenient-cl"):
        Lenient(kind[-2:], log).serve(port)
    else:
        sys.exit(f"no server is called {kind}")


if __name__ == "__main__":
    main()
