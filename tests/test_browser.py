"""Every tutorial runs in a real JupyterLab in a real browser: no error, no warnings, and the tables, bars and plots are on the page.

Run one: `python -m pytest -m '' tests/test_browser.py -k plain_pytorch`."""
import ast,importlib.util,json,os,re,socket,subprocess,sys,time,urllib.request
from pathlib import Path

import pytest

from browser import chromium, contrasts # noqa: F401 (fixture)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
TUTORIALS = sorted(p for p in (ROOT/'nbs'/'tutorials').glob('*.ipynb') if p.name[0] not in '._')
TIMEOUT = 1200          # seconds for one notebook
TOKEN = 'tests'
SETTINGS = {'@jupyterlab/notebook-extension/tracker':dict(windowingMode='none'), '@jupyterlab/apputils-extension/notification':dict(fetchNews='false')} # else cells out of sight are not drawn

def as_list(s): return s if isinstance(s, str) else ''.join(s)

# --- what a notebook promises to show

LEFT_OUT = re.compile(r'^#\|\s*(slow|cuda|eval:\s*false)\b', re.M)  # as nbdev's own runner does
SHOWS = re.compile(r'show_batch|show_results|plot_top_losses')
PLOTS = re.compile(r'lr_find|plot(_(?!top_losses)\w+)?$')
FITS = re.compile(r'fine_tune|fit(_\w+)?$')

class Calls(ast.NodeVisitor):
    "The names of the methods and functions that a cell surely calls where their displays are seen."
    def __init__(self): self.names = []
    def visit_FunctionDef(self, node): pass
    visit_Lambda = visit_ClassDef = visit_Try = visit_If = visit_FunctionDef
    def visit_With(self, node):
        if not re.search('no_bar|no_logging|expect_fail|suppress|redirect', ' '.join(map(ast.unparse, node.items))): self.generic_visit(node)
    def visit_Call(self, node):
        name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
        if not any(k.arg=='show_plot' and getattr(k.value, 'value', True) is False for k in node.keywords): self.names.append(name)
        self.generic_visit(node)

def wanted(cell):
    "What must be seen below the code cell `cell`: counts of tables, epoch tables and images, by its code and by its stored outputs."
    calls,data = Calls(),[o['data'] for o in cell['outputs'] if 'data' in o]
    calls.visit(ast.parse(re.sub(r'^\s*[%!].*$', '', as_list(cell['source']), flags=re.M)))
    count = lambda pat: sum(bool(pat.match(n)) for n in calls.names)
    stored = dict(tables=sum(as_list(d.get('text/html', '')).count('<table') for d in data), images=sum(any(m.startswith('image/') for m in d) for d in data))
    fits = count(FITS)
    return dict(tables=max(count(SHOWS)+fits, stored['tables']), epochs=fits, images=max(min(1, count(PLOTS)), stored['images']))

def prepared(path, folder):
    "A copy of the notebook at `path` as a reader has it before the first run; the cells that must run, and what each must show."
    nb = json.loads(path.read_text())
    nb['cells'] = [c for c in nb['cells'] if c['cell_type']!='code' or (as_list(c['source']).strip() and not LEFT_OUT.search(as_list(c['source'])))]
    code = [c for c in nb['cells'] if c['cell_type']=='code']
    wants = [(as_list(c['source']), wanted(c)) for c in code]
    for c in code: c.update(outputs=[], execution_count=None)
    folder.mkdir(exist_ok=True)
    (folder/path.name).write_text(json.dumps(nb))
    return folder/path.name,wants

# --- what the page shows

CELLS = '''cells => cells.map(cell => {
    const seen = e => e.checkVisibility({visibilityProperty:true, opacityProperty:true}) && e.getBoundingClientRect().width>0 && e.getBoundingClientRect().height>0;
    const all = (sel, root=cell) => [...root.querySelectorAll(sel)], out = '.jp-OutputArea-output ';
    const text = e => e.innerText.trim();
    return {
        number: text(cell.querySelector('.jp-InputPrompt')),
        stderr: all('[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]').map(text), // warnings, and what was raised
        broken: all(out).map(text).filter(t => /Error displaying widget|Loading widget|Click to show javascript error/i.test(t)),
        tables: all(out+'table').filter(seen).map(t => ({heads: all('th', t).map(text), rows: all('tr', t).map(r => all('td', r).map(text)).filter(r => r.some(o => o))})),
        images: all(out+'img, '+out+'svg').filter(seen).map(e => [e.naturalWidth ?? e.clientWidth, e.naturalHeight ?? e.clientHeight]),
        bars: all(out+'progress').filter(seen).length}})'''

# What is said by others and not wrong: PyTorch of fastai's `layers`; transformers of a new head, where a notebook loads a model without us
FOREIGN = [re.compile(r'\S+\.py:\d+: FutureWarning: `torch\.jit\.script` is deprecated\..*\n  .*'),
    re.compile(r'\[transformers\] \w+ LOAD REPORT from: .*\nKey .*\n[-+]+ *\n(\S+ *\| (MISSING|UNEXPECTED) *\|.*\n)+\nNotes:(\n- (MISSING|UNEXPECTED).*)+')]
OURS = re.compile(r'\S+/ipykernel_\S+\.py:\d+: UserWarning: (?:column .*|empty text .*)\n  .*') # what a reader is to know of the data; more than two in a cell are a wall

def unknown(text):
    "What is left of the standard error output `text` when the known is taken out."
    for pat in FOREIGN: text = pat.sub('', text)
    return (OURS.sub('', text) if len(OURS.findall(text))<=2 else text).strip()

def faults(source, want, saw):
    "What is wrong with a cell that has run: `want` was expected of it, the browser `saw` this."
    full = [t for t in saw['tables'] if t['rows']]
    epochs = [t for t in full if 'epoch' in t['heads'] and any(re.fullmatch(r'\d+', r[0]) and all(r) for r in t['rows'])]
    images = [o for o in saw['images'] if min(o)>50]
    res = [f'{k}: {said}' for k in ('stderr','broken') if (said := [*filter(None, map(unknown, saw[k]))])]
    if not re.search(r'\d', saw['number']): res.append('it has not run')
    for k,found in (('tables',full), ('epochs',epochs), ('images',images)):
        if len(found)<want[k]: res.append(f'{want[k]} {k} expected, {len(found)} found; tables: {saw["tables"]}, images: {saw["images"]}')
    if saw['bars']: res.append('a progress bar was left behind')
    return [f'{source}\n  -> {o}' for o in res]

class Lab:
    "A JupyterLab server of its own, at work in `folder`, seen through `browser`."
    def __init__(self, folder, browser):
        self.folder,self.browser,self.pages = folder,browser,folder/'notebooks'
        self.pages.mkdir()
        for name,values in SETTINGS.items():
            path = folder/'settings'/f'{name}.jupyterlab-settings'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.url = f'http://127.0.0.1:{s.getsockname()[1]}'
        self.log = (folder/'log').open('w')
        self.server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={self.url.split(":")[-1]}', '--ServerApp.port_retries=0',
            f'--IdentityProvider.token={TOKEN}', f'--ServerApp.root_dir={self.pages}', '--LabApp.news_url=None', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate',
            '--LabApp.extension_manager=readonly'], env=self.env(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.wait()

    def env(self):
        "No settings of the user; the package is the one of this checkout."
        own = dict(JUPYTER_CONFIG_DIR='config', JUPYTER_DATA_DIR='data', JUPYTER_RUNTIME_DIR='runtime', JUPYTERLAB_SETTINGS_DIR='settings', JUPYTERLAB_WORKSPACES_DIR='workspaces', IPYTHONDIR='ipython')
        env = {k:v for k,v in os.environ.items() if k not in ('MPLBACKEND','PYTHONWARNINGS')} | {k:str(self.folder/v) for k,v in own.items()}
        return env | dict(PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])), HF_HUB_OFFLINE='1', WANDB_MODE='disabled', JUPYTER_PREFER_ENV_PATH='1')

    def ask(self, path, method='GET'):
        with urllib.request.urlopen(urllib.request.Request(f'{self.url}/api{path}', method=method, headers=dict(Authorization=f'token {TOKEN}')), timeout=60) as r: return json.loads(r.read() or 'null')

    def wait(self):
        for _ in range(240):
            if self.server.poll() is not None: break
            try: return self.ask('/status')
            except OSError: time.sleep(.5)
        self.close()
        pytest.fail(f'JupyterLab did not start:\n{(self.folder/"log").read_text()[-3000:]}')

    def run(self, path, timeout=TIMEOUT):
        "Open the notebook at `path`, run all its cells by the menu; the page, when the last has run or one has failed."
        page = self.browser.new_page(viewport=dict(width=1280, height=1800))
        page.set_default_timeout(120_000)
        self.dialogs = []
        page.on('dialog', lambda d: (self.dialogs.append(d.message), d.dismiss()))
        page.goto(f'{self.url}/lab/workspaces/{path.stem}/tree/{path.name}?token={TOKEN}&reset')
        page.get_by_text(re.compile(r'\| Idle')).first.wait_for()                                       # the status bar: the kernel is ready
        self.choose(page, 'Run', 'Run All Cells')
        page.wait_for_function("""() => {
            const numbers = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.innerText);
            return /\\d/.test(numbers[0]) && !numbers.some(s => s.includes('*'))}""", timeout=timeout*1000, polling=200) # after an error no cell waits any more
        page.wait_for_timeout(500)                                                                       # the last outputs are drawn after the last number
        page.wait_for_function('() => [...document.images].every(o => o.complete)')
        return page

    def choose(self, page, *names):
        "Click through the menus."
        page.get_by_role('menuitem', name=names[0], exact=True).click()
        for n in names[1:]: page.locator('.lm-Menu-itemLabel').get_by_text(n, exact=True).first.click()
        page.wait_for_timeout(500)

    def cells(self, page): return page.locator('.jp-Notebook .jp-CodeCell').evaluate_all(CELLS)

    def done(self, page):
        "End the kernels, so that one notebook's memory is not another's."
        page.context.close()
        for o in self.ask('/sessions'): self.ask(f'/sessions/{o["id"]}', 'DELETE')

    def close(self):
        self.server.terminate()
        try: self.server.wait(20)
        except subprocess.TimeoutExpired: self.server.kill()
        self.log.close()

@pytest.fixture(scope='module')
def lab(chromium, tmp_path_factory):
    if not importlib.util.find_spec('jupyterlab'): pytest.skip("jupyterlab is not installed: pip install -e '.[dev,e2e]'")
    lab = Lab(tmp_path_factory.mktemp('lab'), chromium)
    yield lab
    lab.close()

# --- the tests

def test_there_are_tutorials(): assert TUTORIALS

@pytest.mark.parametrize('path', TUTORIALS, ids=lambda p: p.stem)
def test_tutorial_runs_in_a_browser(path, lab):
    copy,wants = prepared(path, lab.pages)
    page = lab.run(copy)
    saw = lab.cells(page)
    lab.done(page)
    assert len(saw)==len(wants)
    wrong = [f for (source,want),s in zip(wants, saw) for f in faults(source, want, s)]
    if wrong: pytest.fail(f'{path.name}\n'+'\n'.join(wrong), pytrace=False)

def made_up(folder, *sources):
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, execution_count=None, outputs=[], source=s) for i,s in enumerate(sources)]
    path = folder/'made_up.ipynb'
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5)))
    return path

STAND_IN = """import sys, warnings
from IPython.display import HTML
class Learn:
    def __getattr__(self, name): return lambda **kwargs: None
learn = Learn()"""
EPOCHS = '<table><tr><th>epoch</th><th>loss</th></tr><tr><td>0</td><td>{}</td></tr></table>'
WRONG = { # cells, and what is to be said of them
    STAND_IN: '', 'learn.lr_find(show_plot=False)': '', f'learn.fit()\nHTML("{EPOCHS.format(1.5)}")': '',
    '#| cuda\nraise KeyError': None, # not run
    'learn.show_batch()': '1 tables expected, 0 found', 'learn.fit_one_cycle()': '1 epochs expected, 0 found', 'learn.lr_find()': '1 images expected, 0 found',
    'warnings.warn("look out")': 'look out', 'learn.show_batch()\nHTML("<table><tr><th>text</th></tr></table>")': '1 tables expected, 0 found',
    f'learn.fit()\nHTML("{EPOCHS.format("")}")': '1 epochs expected, 0 found', f'learn.fit()\nHTML("{EPOCHS.format(1.5)}<progress></progress>")': 'bar was left behind',
    'learn.show_results()\nHTML("<table style=\'display:none\'><tr><td>text</td></tr></table>")': '1 tables expected, 0 found', '1/0': 'ZeroDivisionError', '2': 'it has not run'}

def test_what_is_wrong_is_found(lab, tmp_path):
    copy,wants = prepared(made_up(tmp_path, *WRONG), lab.pages)
    page = lab.run(copy)
    saw = lab.cells(page)
    lab.done(page)
    told = [t for t in WRONG.values() if t is not None]
    assert len(saw)==len(wants)==len(told)
    for (source,want),s,t in zip(wants, saw, told):
        said = ''.join(faults(source, want, s))
        assert t in said if t else not said, (source, said)

# --- our own displays, in both themes

EVIL = '<script>window.pwned = 1; alert(1)</script>','<img src="x" onerror="window.pwned = 1; alert(2)">'
TEXTS = dict(english='the film was long and good', arabic='كان الفيلم طويلا وجيدا', hebrew='הסרט היה ארוך וטוב') | dict(zip(('script','image'), EVIL))
DISPLAYS = [f"""from IPython.display import display
import torch
from blurlike.all import *
from blurlike.show.table import Table
from blurlike.tasks.masked_lm.masking import Spelled, TensorMasked
from blurlike.tasks.token_classification.tagged_tables import TaggedTable, TaggedWords
from blurlike.data.token_fields import TokenTensor
texts = {list(TEXTS.values())!r}""",
    'Table(["text","target",""], [[t,"neg","✗✓"[i%2]] for i,t in enumerate(texts)])',
    """ways = lambda n: [(["O"]+[f"B-{k}" for k in ("PER","LOC","<b>ORG</b>","MISC","DATE")]*9)[:n]]*2
TaggedTable(["target","prediction","","costliest words"], [(t.split(), ways(len(t.split())), ["✗","1.25"], (0,2)) for t in texts])""",
    """def gaps(t): # the first two words are hidden, the first by a mask token
    text = Spelled(t)
    text.pieces = ["[MASK]",*t.split()[1:]]
    return text,(*t.split()[:2],*[None]*(len(t.split())-2))
samples = L(map(gaps, texts))
show_batch(TokenTensor(torch.zeros(1,1,1).long()), TensorMasked([[0]]), samples)
show_results(TokenTensor(torch.zeros(1,1,1).long()), TensorMasked([[0]]), samples, L(((t[0],"?",*t[2:]),) for _,t in samples))""",
    'for t in texts: display(TaggedWords((w, ["B-PER","I-PER",None,"O"][i%4]) for i,w in enumerate(t.split())))']

CELL = """e => {
    const at = document.createRange(), box = e.getBoundingClientRect(), style = getComputedStyle(e); at.selectNodeContents(e);
    const ink = at.getBoundingClientRect();
    return {text: e.textContent, direction: style.direction, left: ink.left-box.left, right: box.right-ink.right}}"""

def test_our_displays_can_be_read(lab, tmp_path):
    page = lab.run(prepared(made_up(tmp_path, *DISPLAYS), lab.pages)[0])
    saw,out = lab.cells(page),page.locator('.jp-OutputArea-output[data-mime-type="text/html"]')
    cells,made = out.locator('td, div[dir]').evaluate_all(f'es => es.map({CELL})'),out.locator('script, img, b').count()
    pwned = page.evaluate('window.pwned')
    read = {}
    for theme in ('Light','Dark'):
        lab.choose(page, 'Settings', 'Theme', f'JupyterLab {theme}')
        ground = page.evaluate('getComputedStyle(document.querySelector(".jp-Notebook")).backgroundColor')
        assert (int(re.search(r'\d+', ground)[0])<60)==(theme=='Dark'), ground
        read[theme] = contrasts(out)
    lab.done(page)
    assert [len(o['tables']) for o in saw]==[0,1,1,2,0] and not [s for o in saw for s in map(unknown, o['stderr']) if s]
    pale = sorted({(round(c, 2), theme, t) for theme,found in read.items() for t,c in found if c<=4.5})
    assert min(map(len, read.values()))>60 and not pale, pale
    for name,text in TEXTS.items():
        right_to_left = name in ('arabic','hebrew')
        of = [c for c in cells if all(w in c['text'] for w in text.split()[2:])]
        assert len(of)==6 and {c['direction'] for c in of}=={'rtl' if right_to_left else 'ltr'}, name # cells of: table, tags (2), gaps, gaps with guesses, words
        near,far = ('right','left') if right_to_left else ('left','right')
        assert all(c[near]<=c[far]+1 for c in of), (name, of)
    assert not lab.dialogs and pwned is None and made==0
