"The authoring tools: notebooks as text and back (`tools/nbsrc.py`), notebooks as Markdown (`tools/nb2md.py`)."
import copy,sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest
from fastcore.nbio import mk_cell, new_nb, read_nb, write_nb

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'tools'))
import nb2md,nbsrc

NOTEBOOKS = sorted(ROOT.glob('nbs/**/[0-9a-z]*.ipynb'))

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_text_gives_the_notebook_back(path, tmp_path):
    nb = read_nb(path)
    write_nb(nbsrc.update_nb(nbsrc.to_text(nb), copy.deepcopy(nb)), tmp_path/path.name)
    assert (tmp_path/path.name).read_bytes()==path.read_bytes()

def small_nb():
    nb = new_nb()
    nb.cells = [mk_cell('# Title\n\ntwo spaces  \nend', 'markdown', id='a', attachments={'x.png':{}}), mk_cell('1+1', id='b'), mk_cell('2+2', id='c')]
    for c in nb.cells[1:]: c.outputs = [dict(output_type='stream', name='stdout', text='4')]
    return nb

def test_only_changed_cells_lose_their_outputs():
    nb = small_nb()
    txt = nbsrc.to_text(nb).replace('1+1', '1+2')+'\n# %%\nnew'
    a,b,c,new = nbsrc.update_nb(txt, nb).cells
    assert (b.source,b.outputs,bool(c.outputs),new.source)==('1+2',[],True,'new')
    assert a.attachments=={'x.png':{}} and a.source=='# Title\n\ntwo spaces  \nend'

def test_text_that_would_lose_something_is_refused():
    nb = small_nb()
    nb.cells[1].set_source('1\n# %%\n2')
    with pytest.raises(SystemExit, match='see cell b'): nbsrc.to_text(nb)
    with pytest.raises(ValueError, match="twice: \\['b'\\]"): nbsrc.update_nb('# %% id=b\n1\n\n# %% id=b\n2')
    with pytest.raises(ValueError, match='must start'): nbsrc.update_nb('1\n# %%\n2')

@pytest.fixture
def page(): return nb2md.Page(ROOT/'nbs'/'index.ipynb', ROOT/'docs'/'_src'/'tutorials'/'x.md', ROOT/'docs'/'_src')

def test_links_lead_to_pages_in_the_site_and_to_files_in_the_readme(page):
    nb = next(p for p in NOTEBOOKS if p.stem[0].isdigit())
    src = f'[a]({nb.name}#b) [c](../CHANGELOG.md) [d](../pyproject.toml) [e](https://example.org) [g](#h)'
    assert page.prose(src)==f'[a](../{nb2md.page(nb)}#b) [c](../changelog.md) d [e](https://example.org) [g](#h)'
    readme = nb2md.Page(ROOT/'nbs'/'index.ipynb', ROOT/'README.md')
    assert readme.prose(src)==f'[a](nbs/{nb.name}#b) [c](CHANGELOG.md) [d](pyproject.toml) [e](https://example.org) [g](#h)'

def test_code_in_prose_is_left_alone(page):
    fenced = '```\ntext\n- item\n[x](../pyproject.toml)\n```'
    assert page.prose(f'text\n- item\n{fenced}\nlast\n1. one\n2. two')==f'text\n\n- item\n{fenced}\nlast\n\n1. one\n2. two'

def test_names_link_to_their_api_heading(page):
    other = nb2md.Page(ROOT/'nbs'/'index.ipynb', page.site/'learner.md', page.site)
    texts = {page:'see `Learn.fit()` and `[1]` and [`Learn.fit`](x)', other:page.api('---\n\n### Learn.fit\n\n```python\ndef fit()\n```')}
    out = nb2md.link_symbols(texts)
    assert out[page]=='see [`Learn.fit()`](../learner.md#learn.fit) and `[1]` and [`Learn.fit`](x)'
    assert '### Learn.fit {#learn.fit}' in out[other]

def test_outputs_become_markdown(page):
    def md(**d): return page.output(dict(output_type='display_data', data=d), 'x').strip()
    assert md(**{'text/html':'<style>b {}</style>', 'text/plain':'x'})==''
    assert md(**{'text/html':['<b>\n', '\n1</b>']})=='<div class="nb-output" markdown="0">\n<b>\n1</b>\n</div>'
    assert md(**{'application/vnd.jupyter.widget-view+json':{}, 'text/plain':'HBox()'})==''
    assert md(**{'text/plain':'a```b'})=='````text\na```b\n````'
    assert page.output(dict(output_type='stream', name='stderr', text='x'), 'x')==''

def test_faults_can_be_planted():
    "Each place that `planted_faults.py` names is still there, once."
    from planted_faults import FAULTS
    assert [(m, said) for m,said,*_ in FAULTS if (ROOT/'blurlike'/f'{m}.py').read_text().count(said)!=1]==[]

def test_parts_of_the_slow_tests():
    "Each part has some; those that share what takes a minute stay together"
    items = [SimpleNamespace(nodeid=f'tests/test_x.py::test_{i}', fixturenames=['site'] if i<3 else ['bert']) for i in range(60)]
    parts = [conftest._part(o, 3) for o in items]
    assert set(parts)=={0,1,2} and len(set(parts[:3]))==1 and min(map(parts.count, parts))>10

def test_every_part_has_every_notebook():
    "A lesson breaks easily, and not for who broke it."
    def item(name, **marks): return SimpleNamespace(nodeid=name, originalname=name.split('[')[0], fixturenames=[], get_closest_marker=marks.get, add_marker=None)
    all_items = [*(item(f'{conftest.ALWAYS}[{i}]', slow=True) for i in range(9)), *(item(f'test_{i}', slow=True) for i in range(40)), item('test_fast')]
    for k in range(5):
        items = [*all_items]
        conftest.pytest_collection_modifyitems(SimpleNamespace(getoption=lambda name: f'{k}/5'), items)
        names = [o.nodeid for o in items]
        assert names[:9]==[o.nodeid for o in all_items[:9]] and names[-1]=='test_fast' and 0<len(names)-10<30
