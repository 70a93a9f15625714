"A server on this machine that speaks as much of the Hugging Face Hub's language as uploading and downloading a folder and searching for models need; and that counts what it was asked."
import base64,hashlib,json,threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

def oid(data): return hashlib.sha1(data).hexdigest()

class Hub:
    "Repositories in memory: name -> branch -> file name -> bytes"
    def __init__(self): self.models,self.searches,self.page,self.repos,self.private,self.commits,self.asked,self.tokens,self.sha_asked = [],[],1000,{},{},[],[],set(),'0'*40
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
        if parts==['api','models']: return 200, self.search(parse_qs(urlsplit(path).query))
        if parts[:2]==['api','models']:
            repo,verb,rev = '/'.join(parts[2:4]),(parts[4] if len(parts)>4 else 'revision'),(parts[5] if len(parts)>5 else 'main')
            if repo not in self.repos: return 404, dict(error='Repository not found')
            return self.of_repo(repo, verb, rev, method, body)
        if 'resolve' not in parts: return 404, dict(error=f'{path} is not known here')
        repo,rev,name = '/'.join(parts[:2]),parts[3],'/'.join(parts[4:])
        files,self.sha_asked = self.files(repo, rev),rev if len(rev)==40 else self.sha(repo)
        return (200, files[name]) if name in files else (404, dict(error='Entry not found'))

    def files(self, repo, rev): return self.repos[repo].get(rev, self.repos[repo]['main'])

    def search(self, asked): # as https://huggingface.co/api/models answers, a page at a time
        self.searches.append(asked)
        def one(k, default=None): return asked.get(k, [default])[-1]
        tags,most = set(asked.get('filter', ())),one('num_parameters')
        size = {'M':10**6, 'B':10**9}.get(most[-1], 1)*int(most[4:-1]) if most else None
        def fits(m): return m['pipeline_tag']==one('pipeline_tag') and tags<=set(m['tags']) and (size is None or (m.get('safetensors') or dict(total=size+1))['total']<=size)
        found = sorted(filter(fits, self.models), key=lambda m: -m['downloads'])
        start = int(one('cursor', 0))
        self.next = start+self.page if start+self.page<len(found) else None
        always,wanted = {'id','_id'},set(asked.get('expand', ()))
        return [{k:v for k,v in m.items() if k in always|wanted} for m in found[start:start+self.page]]

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
            hub.next = None
            status,res = hub.answer(self.command, self.path, body)
            data = res if isinstance(res, bytes) else json.dumps(res).encode()
            self.send_response(status)
            for k,v in {'Content-Length':len(data), 'ETag':f'"{oid(data)}"', 'X-Repo-Commit':hub.sha_asked, 'Content-Type':'application/octet-stream' if isinstance(res, bytes) else 'application/json'}.items(): self.send_header(k, str(v))
            if hub.next is not None: self.send_header('Link', f'<http://{self.headers["Host"]}{self.path}&cursor={hub.next}>; rel="next"')
            self.end_headers()
            if self.command!='HEAD': self.wfile.write(data)
        do_GET = do_POST = do_HEAD = do_DELETE = reply
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
