"""A hub on 127.0.0.1 that answers as the real one does: revision, tree, resolve, ETag, ranges, 401, 404, a cut line.

Uploads, too: a repository is made, what is to be LFS is said before, LFS objects and a commit are taken.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

_API = re.compile(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/?]+)$")
_NEWEST = re.compile(r"/api/models/([^/]+/[^/]+)$")
_POST = re.compile(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/(.+)$")
_LFS = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/(batch)$")
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
    tokens : dict of str to set of str
        Whose owners a token may write to.
    made : dict of str to str or None
        Visibility that was asked for repositories that were made here.
    messages : list of str
        Of every commit that was taken.
    """

    def __init__(self):
        self.tokens, self.made, self.messages, self.objects = {}, {}, [], {}
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

    def _path(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        return path

    def _may_write(self, name):
        """Say whether the token that came may write there; None without a token."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        owners = self.hub.tokens.get(token)
        return None if owners is None else name.partition("/")[0] in owners

    def _answer(self, *, with_body):
        if self.hub.is_closed:
            self.close_connection = True
            return None
        path = self._path()
        if newest := _NEWEST.fullmatch(path):
            path += "/revision/main"
        api, file = _API.fullmatch(path), _FILE.fullmatch(path)
        name = (newest or api or file).group(1) if api or file else ""
        is_hidden = name in self.hub.private and not self._may_write(name)
        if is_hidden or name not in self.hub.commits:
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

    def do_PUT(self):
        body = self._body()
        oid = self._path().rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "", "the content is another than was announced")
        self.hub.objects[oid] = body
        return self._send_json({})

    def do_POST(self):
        body = self._body()
        if self.hub.is_closed:
            self.close_connection = True
            return None
        path = self._path()
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        found = _POST.fullmatch(path) or _LFS.fullmatch(path)
        name = found.group(1) if found else ""
        if self._may_write(name) is None or name not in self.hub.commits:
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        if not self._may_write(name):
            return self._refuse(403, "", "you must use a write token to upload to a repository.")
        if found.group(2) == "batch":
            return self._announce(json.loads(body))
        if found.group(2) == "branch":
            branches = self.hub.branches[name]
            if found.group(3) in branches:
                return self._refuse(409, "", "Reference already exists")
            branches[found.group(3)] = branches["main"]
            return self._send_json({})
        branch = self.hub.branches[name].get(found.group(3))
        if branch is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {found.group(3)}")
        if found.group(2) == "preupload":
            return self._send_json(
                {"files": [_mode(one, self.hub.commits[name][branch]) for one in json.loads(body)["files"]]}
            )
        return self._commit(name, found.group(3), branch, [json.loads(line) for line in body.splitlines()])

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _validate(self, content):
        try:
            values = yaml.safe_load(content.split("---\n")[1])
        except (yaml.YAMLError, IndexError) as error:
            return self._send_json({"errors": [{"message": str(error)}], "warnings": []}, status=400)
        license_name = (values or {}).get("license")
        if license_name is not None and not re.fullmatch(r"[a-z0-9.-]+", license_name):
            return self._send_json({"errors": [{"message": '"license" must be one of'}], "warnings": []}, status=400)
        return self._send_json({"errors": [], "warnings": []})

    def _create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        if self._may_write(name) is None:
            return self._refuse(401, "", "Invalid username or password.")
        if not self._may_write(name):
            return self._refuse(
                403, "", f'You don\'t have the rights to create a model under the namespace "{asked["organization"]}"'
            )
        if name in self.hub.commits:
            told = {"error": "You already created this model repo", "url": f"{self.hub.endpoint}/{name}"}
            return self._send_json(told, status=409)
        self.hub.made[name] = asked.get("visibility")
        if asked.get("visibility") == "private":
            self.hub.private.add(name)
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs"})
        return self._send_json({"url": f"{self.hub.endpoint}/{name}", "name": name})

    def _announce(self, asked):
        objects = []
        for one in asked["objects"]:
            upload = {"href": f"{self.hub.endpoint}/lfs/{one['oid']}", "header": {}}
            is_here = one["oid"] in self.hub.objects
            objects.append({**one, **({} if is_here else {"actions": {"upload": upload}})})
        self._send_json({"transfer": "basic", "objects": objects})

    def _commit(self, name, branch, parent, lines):
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, parent):
            return self._refuse(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(self.hub.commits[name][parent])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.hub.messages.append(header["summary"])
        sha = self.hub.add(name, files, branch)
        return self._send_json(
            {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{sha}"}
        )

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


def _mode(asked, held):
    """Say how a file is to be uploaded, and what is there of that name."""
    is_large = asked["path"].endswith((".safetensors", ".skops", ".bin"))
    old = held.get(asked["path"])
    oid = None if old is None else hashlib.sha1(b"blob %d\0" % len(old) + old).hexdigest()
    mode = "lfs" if is_large else "regular"
    return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None if is_large else oid}


@contextlib.contextmanager
def running_hub(monkeypatch, cache):
    """A hub with nothing in it that huggingface_hub asks, and a folder for its cache."""
    from huggingface_hub import constants

    server = Hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    try:
        yield server
    finally:
        server.close()
