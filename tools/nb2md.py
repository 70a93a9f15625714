"""Notebooks as Markdown, with nbdev's own processors and without quarto: `nb2md.py site OUTDIR` (every notebook, with API entries)
or `nb2md.py readme README.md` (from `nbs/index.ipynb`). MkDocs loads this file as a hook too, for the navigation."""
import base64,gc,os,posixpath,re,shutil,sys
from pathlib import Path

from fastcore.nbio import nb_frontmatter, read_nb
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.processors import FilterDefaults, add_links, clean_magics, insert_warning

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT/'nbs'
PAGES = {'docs/architectures.md':'architectures.md', 'benchmarks/README.md':'benchmarks.md', 'benchmarks/LOG.md':'log.md', 'CONTRIBUTING.md':'contributing.md', 'CHANGELOG.md':'changelog.md'}    # files of the root that are pages of the site too
LESSONS = '''quick_start datablock pairs_labels_numbers token_classification multiple_choice question_answering language_model active_learning discriminative_learning_rates long_documents saving_sharing_serving
    from_trainer from_blurr plain_pytorch'''.split() # the tutorials in the order in which they teach; any other comes after them

ROOMS = 'support model data show predict train save inspect share tasks'.split() # folders of modules; each imports only from those before it

_number = re.compile(r'^\d+_')
_option = re.compile(r'^#\|\s*([\w-]+)\s*:?\s*(.*?)\s*$')
_ansi = re.compile(r'\x1b\[[0-9;]*m')
_style = re.compile(r'<style\b.*?</style>', re.S)
_callout = re.compile(r'^:{3,}\s*\{\.callout-(\w+)[^}]*\}\s*\n(.*?)\n:{3,}\s*$', re.M|re.S)
_source = re.compile(r'^\[source\]\(.*\)\{.*\}\n+', re.M)                       # nbdev's link to a hosted repository
_attrs = re.compile(r'(?<=[)\]])\{(target|style|\.)[^}]*\}')
_fenced = re.compile(r'^(`{3,}|~{3,}).*?^\1`*[ \t]*$', re.M|re.S)
_link = re.compile(r'(!?)\[([^\]\n]*)\]\(([^)\s]+)\)')
_symbol = re.compile(r'(?<!\[)`([A-Za-z_][\w.]*)(\(\))?`(?!\])')
_item = re.compile(r'^([-*+]|\d+\.) ')
_heading = re.compile(r'(?<=\A---\n\n)#+ (\S+)$', re.M)
_api = re.compile(r'^#+ (\S+) \{#(\S+)\}$', re.M)

class ApiDocs(FilterDefaults):
    """nbdev's processors but for its links to hosted pages (`link_symbols` links within the site), its warning (ours names the notebook),
    and its look for magics (our notebooks have none; it reads nbdev's settings anew for each cell)."""
    def base_procs(self): return [p for p in super().base_procs() if p not in (add_links, clean_magics, insert_warning)]

def page(nb):
    "Path in the site of the page of notebook `nb`: `nbs/data/19_tokens.ipynb` -> `data/tokens.md`."
    rel = nb.relative_to(NBS)
    return (rel.parent/(_number.sub('', rel.stem)+'.md')).as_posix()

def notebooks(): return sorted(nbglob(NBS, as_path=True), key=lambda f: f.relative_to(NBS).as_posix())

def lesson(p):
    "Place of the tutorial page `p` in the navigation."
    return LESSONS.index(Path(p).stem) if Path(p).stem in LESSONS else len(LESSONS)

def room_headings():
    "Title and text of each room, as the map in the README has them."
    text = '\n'.join(c.source for c in read_nb(NBS/'index.ipynb').cells if c.cell_type=='markdown')
    found = re.findall(r'^### (\w+): ([^\n]*)\n(.*?)(?=^#|\Z)', text, re.M|re.S)
    return {room:(title, body) for room,title,body in found if room in ROOMS}

def nav():
    "The site's navigation: tutorials in the order of `LESSONS`, rooms in the order of `ROOMS`, their modules in that of their numbers."
    pages = [page(nb) for nb in notebooks()]
    def folder(name): return [p for p in pages if p.startswith(name+'/')]
    def listed(room): # its modules, and under a heading of its own each folder of them
        inside = folder(room)
        own = [p for p in inside if p.count('/')==1]
        slices = dict.fromkeys(posixpath.dirname(p) for p in inside if p not in own)
        return own+[{posixpath.basename(o).replace('_', ' ').capitalize():folder(o)} for o in slices]
    groups = dict(Tutorials=sorted(folder('tutorials'), key=lesson))
    groups |= {room.capitalize():[*([f'{room}/index.md'] if folder(room) else []), *listed(room)] for room in ROOMS}
    groups['Project'] = [p for p in pages if '/' not in p and p!='index.md'] + [p for f,p in PAGES.items() if (ROOT/f).exists()]
    return ['index.md']*('index.md' in pages) + [{k:v} for k,v in groups.items() if v]

def on_config(config):
    "MkDocs calls this hook with its settings."
    config.nav = nav()
    return config

def outside_fences(f, s):
    "`s` with `f` applied to what is not a fenced block."
    ends = [0, *(i for m in _fenced.finditer(s) for i in m.span()), len(s)]
    return ''.join(s[a:b] if i%2 else f(s[a:b]) for i,(a,b) in enumerate(zip(ends, ends[1:])))

def admonition(m): return f'!!! {m[1]}\n\n' + '\n'.join('    '+l if l.strip() else '' for l in m[2].strip().splitlines()) + '\n'

def space_lists(s):
    "An empty line before each list that follows text: Jupyter does without it, Python-Markdown does not."
    ls = s.split('\n')
    for i in range(len(ls)-1, 0, -1):
        if _item.match(ls[i]) and ls[i-1].strip() and not re.match(r'\s|'+_item.pattern, ls[i-1]): ls.insert(i, '')
    return '\n'.join(ls)

def fence(s, lang=''):
    ticks = '`'*max(3, 1+max(map(len, re.findall(r'`{3,}', s)), default=0))
    return f'{ticks}{lang}\n{s.rstrip()}\n{ticks}\n'

class Page:
    "The notebook or Markdown file `src` as Markdown for the file `out`; in a `site`, links lead to its pages, in the README to files."
    def __init__(self, src, out, site=None):
        self.src,self.out,self.site = src,out,site
        self.figs = out.parent/f'{out.stem}_files'

    @property
    def rel(self): return self.out.relative_to(self.site).as_posix()
    def url(self, page): return posixpath.relpath(page, posixpath.dirname(self.rel) or '.')

    def relink(self, m):
        "A link to a file beside `src`, or else below the root, as it must be in the output; as plain text where the site has no such page."
        bang,text,url = m.groups()
        target,_,frag = url.partition('#')
        if not target or re.match(r'\w+:', target): return m[0]
        found = next((f for f in ((self.src.parent/target).resolve(), (ROOT/target).resolve()) if f.exists()), None)
        if found is None or ROOT not in found.parents: return m[0]
        new = found.relative_to(ROOT).as_posix() if not self.site else self.site_url(found, bang)
        return f'{bang}[{text}]({new}{"#"+frag if frag else ""})' if new else text

    def site_url(self, file, bang):
        if file.suffix=='.ipynb' and NBS in file.parents: return self.url(page(file))
        if file.is_relative_to(ROOT) and (page_of := PAGES.get(file.relative_to(ROOT).as_posix())): return self.url(page_of)
        if bang: return self.copied(file)

    def copied(self, file):
        self.figs.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, self.figs/file.name)
        return f'{self.figs.name}/{file.name}'

    def prose(self, s):
        "Markdown of a cell, with its links and lists as the output wants them."
        s = _callout.sub(admonition, s) if self.site else s
        return outside_fences(lambda t: space_lists(_link.sub(self.relink, t)), s)

    def api(self, s):
        "What `show_doc` wrote, its heading named so that `link_symbols` can point to it."
        s = _attrs.sub('', _source.sub('', s)).replace('__main__.', '')            # classes that the cells before made
        return _heading.sub(lambda m: m[0].replace('__', r'\_\_')+f' {{#{m[1].lower().replace("__", "")}}}', s) # Markdown would make `__call__` bold

    def output(self, o, name):
        t = o['output_type']
        join = lambda s: s if isinstance(s, str) else ''.join(s)
        plain = lambda s: fence(_ansi.sub('', s), 'text') if s.strip() else ''
        if t=='stream': return '' if o.get('name')=='stderr' else plain(join(o['text']))
        if t=='error': return plain('\n'.join(o['traceback'][-3:]))
        d = o.get('data', {})
        if any('widget-view' in k for k in d): return ''                         # a live bar: nothing to show on a page
        if 'text/html' in d:
            html = re.sub(r'\n\s*\n+', '\n', _style.sub('', join(d['text/html']))).strip()
            return html and f'<div class="nb-output" markdown="0">\n{html}\n</div>\n'
        for mime,ext in (('image/png','png'), ('image/jpeg','jpg'), ('image/svg+xml','svg')):
            if mime not in d: continue
            self.figs.mkdir(parents=True, exist_ok=True)
            data = join(d[mime])
            (self.figs/f'{name}.{ext}').write_bytes(data.encode() if ext=='svg' else base64.b64decode(data))
            return f'![output]({self.figs.name}/{name}.{ext})\n'
        if 'text/markdown' in d: return self.api(join(d['text/markdown']))+'\n'
        return plain(join(d.get('text/plain', '')))

    def cell(self, i, c):
        "The Markdown pieces of cell `c`, number `i`."
        if c.cell_type=='markdown': return [self.prose(c.source)]
        if c.cell_type!='code': return []
        lines,opts = c.source.splitlines(),{}
        while lines and (m := _option.match(lines[0])):
            opts[m[1]] = m[2]
            lines.pop(0)
        src,res = '\n'.join(lines).strip(),[]
        if opts.get('include')=='false': return res
        if src and opts.get('echo')!='false':
            code = fence(src, 'python')
            res.append('??? example "Code"\n\n'+'\n'.join('    '+l for l in code.splitlines()) if opts.get('code-fold') and self.site else code)
        if opts.get('output')!='false': res += [self.output(o, f'{i}-{j}') for j,o in enumerate(c.get('outputs', []))]
        return res

    def text(self):
        if self.src.suffix=='.md': return self.prose(self.src.read_text())
        nb = read_nb(self.src)
        fm = nb_frontmatter(nb)
        ApiDocs()(nb)
        head = [f"# {fm.get('title', self.src.stem)}", f'<!-- Made from {self.src.relative_to(ROOT).as_posix()} by tools/nb2md.py: edit the notebook -->',
            self.prose(f"*{fm['description']}*") if fm.get('description') else '']
        body = (s.strip('\n') for i,c in enumerate(nb.cells) for s in self.cell(i, c))
        return '\n\n'.join(s for s in (*head, *body) if s)+'\n'

class RoomPage(Page):
    "The page of the room `name`: what the README's map says of it, and its modules."
    def __init__(self, name, out, site):
        super().__init__(NBS/'index.ipynb', out, site)
        self.name = name

    def text(self):
        title,body = room_headings()[self.name]
        return f'# {self.name.capitalize()}: {title}\n\n{self.prose(body.strip())}\n'

def link_symbols(pages):
    "`pages` (`{Page: text}`) with each name in backticks that has an API heading on some page linked to it."
    where = {m[1].replace('\\', ''):(p,m[2]) for p,s in pages.items() for m in _api.finditer(s)}
    def links(p):
        def link(m): return f'[{m[0]}]({p.url(where[m[1]][0].rel)}#{where[m[1]][1]})' if m[1] in where else m[0]
        return lambda t: '\n'.join(l if l.startswith('#') else _symbol.sub(link, l) for l in t.split('\n'))
    return {p:outside_fences(links(p), s) for p,s in pages.items()}

def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

def site(dst):
    "Every notebook as a page below `dst`, with the pages that the root holds and the style sheet."
    srcs = {page(nb):nb for nb in notebooks()} | {p:ROOT/f for f,p in PAGES.items() if (ROOT/f).exists()}
    pages = [Page(src, dst/p, dst) for p,src in srcs.items()] + [RoomPage(o, dst/o/'index.md', dst) for o in room_headings()]
    for p,text in link_symbols({p:p.text() for p in pages}).items(): write(p.out, text)
    shutil.copy(ROOT/'docs'/'style.css', dst/'style.css')

def readme(dst): write(dst, Page(NBS/get_config(ROOT).readme_nb, dst).text())

if __name__=='__main__':
    if len(sys.argv)!=3 or sys.argv[1] not in ('site', 'readme'): raise SystemExit(__doc__)
    os.environ['IN_TEST'] = '1'                                                 # cells run by `show_doc` must not export
    dst = Path(sys.argv[2]).resolve()
    os.chdir(ROOT)                                                              # nbdev looks for its settings here, imports find the package
    sys.path.insert(0, str(ROOT))
    dict(site=site, readme=readme)[sys.argv[1]](dst)
    gc.freeze()                                                                 # at exit IPython collects garbage once for each shell, so for each notebook
