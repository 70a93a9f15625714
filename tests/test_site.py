"The documentation site, as `tools/docs` builds it: whole, offline, and searchable in a browser."
import ast,functools,http.server,json,os,re,subprocess,sys,threading
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import chromium, contrasts # noqa: F401 (fixture)
from fresh import here
from test_notebooks import NOTEBOOKS
from test_public_names import star_import

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'tools'))
import nb2md

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The folder of the built site; what lies in `docs/` is left alone."
    folder = tmp_path_factory.mktemp('docs')
    env = here(DOCS=str(folder), PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
    r = subprocess.run([ROOT/'tools'/'docs'], env=env, capture_output=True, text=True)
    assert r.returncode==0, (r.stdout+r.stderr)[-3000:]
    return folder/'_site'

def page_of(nb): return nb2md.page(nb).replace('.md', '.html')
def title(nb): return next(l for c in json.loads(nb.read_text())['cells'] if c['cell_type']=='markdown' for l in c['source'] if l.startswith('# '))[2:].strip()

class Loads(HTMLParser):
    "What a page fetches by itself, and its external links (those are only followed by a click)."
    def __init__(self, text):
        super().__init__()
        self.urls = []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag!='a': self.urls += [a[k] for k in ('src','href','srcset','poster','data') if a.get(k) and a.get('rel')!='canonical']

def outside(url): return re.match(r'(\w+:)?//', url) is not None

def test_what_is_fetched_from_elsewhere_is_found():
    page = '<link href="//x.org/a.css"><script src="b.js"></script><img src="https://x.org/c.png"><a href="https://x.org">d</a><img src="data:image/png;base64,AAAA">'
    assert [*filter(outside, Loads(page).urls)]==['//x.org/a.css','https://x.org/c.png']

@pytest.mark.slow
def test_a_page_for_each_notebook_and_nothing_from_elsewhere(site):
    assert {page_of(p) for p in NOTEBOOKS.values()}<={p.relative_to(site).as_posix() for p in site.rglob('*.html')}
    assert not {(p.name, u) for p in site.rglob('*.html') for u in Loads(p.read_text()).urls if outside(u)}
    assert not {(p.name, u) for p in site.rglob('*.css') for u in re.findall(r'(?:url\(|@import )["\']?((?:https?:)?//[^"\')]+)', p.read_text())}

@pytest.mark.slow
def test_tutorials_come_first_and_in_order(site):
    nav = nb2md.nav()
    tutorials = nav[1]['Tutorials']
    assert nav[0]=='index.md'
    assert [*map(list, nav[1:])]==[["Tutorials"],*([o.capitalize()] for o in nb2md.ROOMS),["Project"]]
    known = [Path(p).stem for p in tutorials if Path(p).stem in nb2md.LESSONS]
    assert known==[o for o in nb2md.LESSONS if o in known] and [Path(p).stem for p in tutorials][:len(known)]==known
    links = re.findall(r'<a href="([^"#:]+\.html)" class="md-nav__link">\s*<span class="md-ellipsis">\s*(.*?)\s*<', (site/'index.html').read_text(), re.S)
    html = re.compile('<[^>]*>|`|&[^;]*;|\'|"')
    for nb in NOTEBOOKS.values():
        if nb.stem!='index': assert (page_of(nb), html.sub('', title(nb))) in [(u, html.sub('', t)) for u,t in links], nb
    assert [Path(u).stem for u,_ in links if u.startswith('tutorials/')]==[Path(p).stem for p in tutorials]

def documented():
    "The functions and classes in the `__all__` of our modules: constants have no entry."
    for path in ROOT.glob('blurlike/*/**/*.py'):
        body = ast.parse(path.read_text()).body
        public = {n for o in body if isinstance(o, ast.Assign) and getattr(o.targets[0], 'id', '')=='__all__' for n in ast.literal_eval(o.value)}
        yield from (o.name for o in body if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and o.name in public)

@pytest.mark.slow
def test_the_search_knows_every_documented_name(site):
    titles = {re.sub('<[^>]*>', '', d['title']) for d in json.loads((site/'search'/'search_index.json').read_text())['docs']}
    heads = {re.sub('<[^>]*>', '', h).split('¶')[0].replace('&para;', '') for p in site.rglob('*.html') for h in re.findall(r'<h\d id="[^"]*">(.*?)<a', p.read_text())}
    assert {'TransformersTextBlock','TransformersLearner','FittingLearner.__call__','sequence_classification_learner'}<=titles & heads
    missing = [n for n in documented() if n not in titles]
    assert not missing, missing

# --- the code that the pages show

PYTHON = re.compile(r'^(`{3,})(?:python|py|\{python\})[^\n]*\n(.*?)^\1', re.M|re.S)
BARE = re.compile(r'^(`{3,})[ \t]*(\w*)[^\n]*\n.*?^\1[ \t]*$', re.M|re.S)
LANGUAGES = {'python','py','sh','bash','text','json','toml','yaml'}

def proses():
    "Pairs of where it stands and text, of all Markdown that becomes a page or the README."
    for name,nb in NOTEBOOKS.items():
        for c in json.loads(nb.read_text())['cells']:
            if c['cell_type']=='markdown': yield f'{name}#{c.get("id")}',''.join(c['source'])
    for f in ('README.md', *nb2md.PAGES): yield f,(ROOT/f).read_text()

def test_code_in_prose_names_its_language_and_compiles():
    for where,text in proses():
        assert {m[2] for m in BARE.finditer(text)}<=LANGUAGES, where
        for m in PYTHON.finditer(text):
            try: compile(m[2], where, 'exec')
            except SyntaxError as e: pytest.fail(f'{where}: {e}\n{m[2]}')

def test_names_in_code_of_the_prose_exist():
    "What is imported from or called in blurlike exists, and takes these arguments."
    import builtins,inspect
    public = star_import()
    for where,text in proses():
        if 'With blurr:' in text: continue # its own code, of old
        defined,trees = set(),[ast.parse(m[2]) for m in PYTHON.finditer(text)]
        for n in (n for t in trees for n in ast.walk(t)):
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store): defined.add(n.id)
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)): defined.add(n.name)
            if isinstance(n, ast.Call): defined.update(o.id for o in [*n.args, *(k.value for k in n.keywords)] if isinstance(o, ast.Name)) # the reader's own
            if isinstance(n, ast.alias): defined.add(n.asname or n.name.split('.')[0])
        for n in (n for t in trees for n in ast.walk(t) if isinstance(n, ast.Call)):
            name = n.func.id if isinstance(n.func, ast.Name) else None
            if name is None and isinstance(n.func, ast.Attribute) and getattr(n.func.value, 'id', '').startswith('learn'):
                assert hasattr(public['TransformersLearner'], n.func.attr), f'{where}: a learner has no {n.func.attr}'
            if name is None or name in defined or hasattr(builtins, name): continue
            f = public.get(name)
            assert f is not None, f'{where}: {name} is nowhere in the star-import'
            given,takes = [k.arg for k in n.keywords if k.arg],inspect.signature(f).parameters
            if not any(p.kind is p.VAR_KEYWORD for p in takes.values()): assert set(given)<=set(takes), f'{where}: {name} does not take {set(given)-set(takes)}'

def test_every_code_cell_of_the_site_has_run():
    "The pages are those of the notebooks that `test_notebooks.py` runs; a cell that it leaves out must hold what it printed when it did run."
    assert {nb2md.page(p) for p in nb2md.notebooks()}=={nb2md.page(p) for p in NOTEBOOKS.values()}
    cells = [(name, c) for name,p in NOTEBOOKS.items() for c in json.loads(p.read_text())['cells'] if c['cell_type']=='code']
    marked = [(name, ''.join(c['source'])) for name,c in cells if re.search(r'^#\|\s*(eval:\s*false|slow|cuda)\b', ''.join(c['source']), re.M) and not c['outputs']]
    assert len(cells)>100 and not marked, marked

# --- in a browser

@pytest.fixture(scope='module')
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()

@pytest.mark.slow
@pytest.mark.parametrize('scheme', ['light','dark'])
def test_pages_in_a_browser(scheme, site, address, chromium):
    page = chromium.new_page(viewport=dict(width=1280, height=900), color_scheme=scheme)
    said,asked = [],[]
    page.on('console', lambda m: said.append(m.text) if m.type in ('error','warning') else None)
    page.on('pageerror', lambda e: said.append(str(e)))
    page.on('request', lambda r: asked.append(r.url))
    for path in ['index.html','architectures.html','data/index.html','train/learner.html','show/table.html','show/displays.html', *sorted(p.relative_to(site).as_posix() for p in site.glob('tutorials/*.html'))]:
        page.goto(address+path)
        assert page.evaluate('document.documentElement.scrollWidth')<=1280, f'{path} is wider than its window'
        assert not page.evaluate('[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)'), path
        pale = [(t, round(c, 2)) for t,c in contrasts(page.locator('.md-content :is(table, .nb-output)')) if c<=4.5]
        assert not pale, (path, scheme, pale)
    page.goto(address+'index.html')
    page.locator('.md-search__input').press_sequentially('TransformersTextBlock') # the theme looks at the field when a key goes up: one filled by a script it may miss
    hit = page.locator('.md-search-result__link', has=page.locator('h2', has_text='TransformersTextBlock')).first
    hit.click()
    page.wait_for_url(re.compile(r'block\.html.*#transformerstextblock'))
    assert page.locator('h3#transformerstextblock').is_visible()
    page.context.close()
    assert not said and not [u for u in asked if not u.startswith((address, 'data:', 'blob:'))], (said, asked)

def test_a_link_between_notebooks_leads_to_one():
    "Fast, beside what a strict build of the site says of all links."
    links = [(name, path.parent, l) for name,path in NOTEBOOKS.items() for c in json.loads(path.read_text())['cells'] if c['cell_type']=='markdown'
        for l in re.findall(r'\]\(([^)#:\s]+\.ipynb)', ''.join(c['source']))]
    assert len(links)>100 and not [(name, l) for name,folder,l in links if not (folder/l).exists()]

def test_a_notebook_has_one_title():
    cells = {name:[c for c in json.loads(path.read_text())['cells'] if c['cell_type']=='markdown'] for name,path in NOTEBOOKS.items()}
    titles = {name:[l for c in found for l in c['source'] if l.startswith('# ')] for name,found in cells.items()}
    assert not {name:found for name,found in titles.items() if len(found)!=1}
