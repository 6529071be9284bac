"""A hub on 127.0.0.1 that answers as the real one does: revision, tree, resolve, ETag, ranges, 401, 404, a cut line."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/?]+)$")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


class Hub:
    """Repositories by name: ``commits[name][sha][path] -> bytes``, ``branches[name][branch] -> sha``.

    Attributes
    ----------
    private : set of str
        Answered with 401, as the real hub answers for what does not exist, too.
    cuts : dict
        ``path -> n``: the connection breaks after so many bytes, once.
    asked : list of (method, path, range or None)
        Every request.
    """

    def __init__(self):
        self.commits, self.branches, self.private, self.cuts, self.asked = {}, {}, set(), {}, []
        self.is_closed = False
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, name, files, branch="main"):
        """Commit files, move the branch there, return the commit."""
        sha = hashlib.sha1(b"".join(path.encode() + content for path, content in sorted(files.items()))).hexdigest()
        self.commits.setdefault(name, {})[sha] = dict(files)
        self.branches.setdefault(name, {})[branch] = sha
        return sha

    def close(self):
        """End, lines that are open included."""
        self.is_closed = True
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, *, with_body):
        if self.hub.is_closed:
            self.close_connection = True
            return None
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        api, file = _API.fullmatch(path), _FILE.fullmatch(path)
        name = (api or file).group(1) if api or file else ""
        if name in self.hub.private or name not in self.hub.commits:
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        revision = api.group(3) if api else file.group(2)
        sha = self.hub.branches[name].get(revision, revision)
        files = self.hub.commits[name].get(sha)
        if files is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if api:
            return self._send_json(self._listing(api.group(2), name, sha, files))
        content = files.get(file.group(3))
        if content is None:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        return self._send_file(file.group(3), sha, content, with_body=with_body)

    def _listing(self, kind, name, sha, files):
        if kind == "tree":
            return [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "modelId": name, "sha": sha, "private": False, "tags": [], "siblings": siblings}

    def _refuse(self, status, code, message):
        self._send_json({"error": message}, status=status, headers={"X-Error-Code": code, "X-Error-Message": message})

    def _send_json(self, value, *, status=200, headers=None):
        body = json.dumps(value).encode()
        self._start(status, {"Content-Type": "application/json", "Content-Length": len(body), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, path, sha, content, *, with_body):
        start, status = 0, 200
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start, status = int(asked.group(1)), 206
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": sha,
            "Accept-Ranges": "bytes",
            "Content-Length": len(content) - start,
        }
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._start(status, headers)
        if not with_body:
            return
        cut = self.hub.cuts.pop(path, None)
        self.wfile.write(content[start : None if cut is None else start + cut])
        if cut is not None:
            self.close_connection = True

    def _start(self, status, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
