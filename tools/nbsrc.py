"""Edit a notebook as text: `nbsrc.py to NB.ipynb [OUT.py]`, edit OUT.py, `nbsrc.py from OUT.py NB.ipynb`.

A cell starts at a line `# %% id=...`, `# %% [markdown] id=...` or `# %% [raw] id=...`; write a new cell without an id, it gets one.
Ids, metadata, attachments and the outputs of unchanged cells are kept; a changed cell loses its outputs."""
import json,re,sys
from pathlib import Path

from fastcore.nbio import mk_cell, new_nb, read_nb, validate_nb, write_nb

_hdr = re.compile(r'^# %%(?: \[(markdown|raw)\])?(?: id=([\w-]+))?(?: (\{.*\}))?[ \t]*$', re.M)
KERNEL = dict(kernelspec=dict(name='python3', display_name='python3', language='python'))

def cell2txt(c):
    "One cell as its header line and its source, prose commented out."
    typ = '' if c.cell_type=='code' else f' [{c.cell_type}]'
    meta = ' '+json.dumps(c.metadata, sort_keys=True) if c.get('metadata') else ''
    src = c.source if c.cell_type=='code' else '\n'.join('# '+l if l else '#' for l in c.source.split('\n'))
    return f'# %%{typ} id={c.id}{meta}\n{src}\n'

def nb2txt(nb): return '\n'.join(cell2txt(c) for c in nb.cells)

def txt2cells(txt):
    "`(type, id, metadata, source)` of each cell in `txt`."
    ms = list(_hdr.finditer(txt))
    if not ms or txt[:ms[0].start()].strip(): raise ValueError('the text must start with a `# %%` header')
    for m,n in zip(ms, ms[1:]+[None]):
        typ,src = m[1] or 'code', txt[m.end():n.start() if n else len(txt)].strip('\n')
        if typ!='code': src = '\n'.join(re.sub(r'^# ?', '', l) for l in src.split('\n'))
        yield typ, m[2], json.loads(m[3] or '{}'), src

def update_cell(old, typ, cid, meta, src):
    "Cell `old` (`None` for a new one) with the given type, metadata and source; it keeps what the text does not show."
    if old is None or old.cell_type!=typ: return mk_cell(src, typ, metadata=meta, **(dict(id=cid) if cid else {}))
    if typ=='code' and old.source!=src: old.outputs,old.execution_count = [],None
    if old.source!=src: old.set_source(src)
    old.metadata = meta
    return old

def update_nb(txt, nb=None):
    "Notebook `nb` (a new one if `None`) with the cells of `txt`."
    nb = new_nb(meta=KERNEL) if nb is None else nb
    old,new = {c.id:c for c in nb.cells},list(txt2cells(txt))
    ids = [cid for _,cid,*_ in new if cid]
    if len(set(ids))<len(ids): raise ValueError(f'ids used twice: {sorted({i for i in ids if ids.count(i)>1})}')
    nb.cells = [update_cell(old.get(cell[1]), *cell) for cell in new]
    return nb

def to_text(nb):
    "`nb2txt`, refusing a notebook that the text cannot give back."
    txt = nb2txt(nb)
    back = [(t,s) for t,_,_,s in txt2cells(txt)]
    lost = [c.id for c,b in zip(nb.cells, back) if (c.cell_type,c.source)!=b]
    if lost or len(back)!=len(nb.cells): raise SystemExit(f'a cell starts or ends with an empty line, or holds a `# %%` line; see cell {lost[0] if lost else nb.cells[-1].id}')
    return txt

def main(cmd=None, src=None, dst=None):
    if cmd=='to' and src:
        txt = to_text(read_nb(src))
        Path(dst).write_text(txt) if dst else sys.stdout.write(txt)
    elif cmd=='from' and dst:
        nb = update_nb(Path(src).read_text(), read_nb(dst) if Path(dst).exists() else None)
        validate_nb(nb)
        write_nb(nb, dst)
        Path(src).write_text(nb2txt(nb))  # new cells now carry their ids
    else: raise SystemExit(__doc__)

if __name__=='__main__': main(*sys.argv[1:])
