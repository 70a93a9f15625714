"A server on this machine that speaks as much of the Hugging Face Hub's language as uploading and downloading a folder needs; and that counts what it was asked."
import base64,hashlib,json,threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

def oid(data): return hashlib.sha1(data).hexdigest()

class Hub:
    "Repositories in memory: name -> branch -> file name -> bytes"
    def __init__(self): self.repos,self.private,self.commits,self.asked,self.tokens,self.sha_asked = {},{},[],[],set(),'0'*40
    def sha(self, repo): return oid(repr(sorted((b, n, oid(d)) for b,files in self.repos[repo].items() for n,d in files.items())).encode())

    def answer(self, method, path, body): # status, JSON or bytes
        parts = [unquote(p) for p in urlsplit(path).path.strip('/').split('/')]
        if parts[:3]==['api','repos','create']:
            told = json.loads(body)
            name = f"{told.get('organization') or 'ada'}/{told['name']}"
            known = name in self.repos
            self.private[name] = told.get('private') or told.get('visibility')=='private'
            self.repos.setdefault(name, dict(main={}))
            return 409 if known else 200, dict(url=f'https://huggingface.co/{name}', name=name)
        if parts[-1]=='validate-yaml': return 200, dict(errors=[], warnings=[])
        if parts[:2]==['api','models']:
            repo,verb,rev = '/'.join(parts[2:4]),(parts[4] if len(parts)>4 else 'revision'),(parts[5] if len(parts)>5 else 'main')
            if repo not in self.repos: return 404, dict(error='Repository not found')
            return self.of_repo(repo, verb, rev, method, body)
        if 'resolve' not in parts: return 404, dict(error=f'{path} is not known here')
        repo,rev,name = '/'.join(parts[:2]),parts[3],'/'.join(parts[4:])
        files,self.sha_asked = self.files(repo, rev),rev if len(rev)==40 else self.sha(repo)
        return (200, files[name]) if name in files else (404, dict(error='Entry not found'))

    def files(self, repo, rev): return self.repos[repo].get(rev, self.repos[repo]['main'])

    def of_repo(self, repo, verb, rev, method, body):
        files = self.files(repo, rev)
        if verb=='branch':
            self.repos[repo].setdefault(rev, dict(files))
            return 200, {}
        if verb=='preupload': return 200, dict(files=[dict(path=f['path'], uploadMode='regular', shouldIgnore=False, oid=oid(files[f['path']]) if f['path'] in files else None) for f in json.loads(body)['files']])
        if verb=='commit': return self.commit(repo, files, [json.loads(o) for o in body.splitlines()])
        if verb=='tree': return 200, [dict(type='file', path=n, size=len(d), oid=oid(d)) for n,d in files.items()]
        return 200, dict(id=repo, modelId=repo, sha=self.sha(repo), private=False, tags=[], siblings=[dict(rfilename=n) for n in files])

    def commit(self, repo, files, lines):
        for o in lines:
            if o['key']=='header': self.commits.append(o['value']['summary'])
            if o['key']=='file': files[o['value']['path']] = base64.b64decode(o['value']['content'])
            if o['key']=='deletedFile': del files[o['value']['path']]
        return 200, dict(success=True, commitOid=self.sha(repo), commitUrl=f'https://huggingface.co/{repo}/commit/{self.sha(repo)}')

def serve(hub):
    "A server for `hub` on a free port, in a thread; `shutdown()` it."
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args): pass
        def reply(self):
            hub.asked.append((self.command, urlsplit(self.path).path))
            hub.tokens.add(self.headers.get('Authorization'))
            body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
            status,res = hub.answer(self.command, self.path, body)
            data = res if isinstance(res, bytes) else json.dumps(res).encode()
            self.send_response(status)
            for k,v in {'Content-Length':len(data), 'ETag':f'"{oid(data)}"', 'X-Repo-Commit':hub.sha_asked, 'Content-Type':'application/octet-stream' if isinstance(res, bytes) else 'application/json'}.items(): self.send_header(k, str(v))
            self.end_headers()
            if self.command!='HEAD': self.wfile.write(data)
        do_GET = do_POST = do_HEAD = do_DELETE = reply
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
