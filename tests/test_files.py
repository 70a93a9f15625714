"Files that replace others, and sums of what is in memory."
import hashlib
import os
import stat

import pytest
import torch
from blurlike.model.fingerprints import weights_hash
from blurlike.support.files import write_file, write_folder
from torch import nn

@pytest.mark.skipif(os.name=='nt', reason='Windows has other rights')
def test_a_file_that_is_replaced_keeps_its_rights(tmp_path):
    mask = os.umask(0o022)
    try:
        for mode in (0o600,0o640,0o644):
            path = tmp_path/f'{mode}.csv'
            write_file(path, lambda p: p.write_text('new'))
            assert stat.S_IMODE(path.stat().st_mode)==0o644
            path.chmod(mode)
            write_file(path, lambda p: p.write_text('replaced'))
            assert (path.read_text(), stat.S_IMODE(path.stat().st_mode))==('replaced', mode)
        link = tmp_path/'link'
        link.symlink_to(tmp_path/f'{0o600}.csv')
        write_file(link, lambda p: p.write_text('by a link'))
        assert link.is_symlink() and stat.S_IMODE(link.stat().st_mode)==0o600
    finally: os.umask(mask)

@pytest.mark.skipif(os.name=='nt', reason='Windows has other rights')
@pytest.mark.parametrize('can_exchange', [True,False])
def test_a_folder_that_is_replaced_keeps_its_rights(can_exchange, tmp_path, monkeypatch):
    if not can_exchange: monkeypatch.setattr('blurlike.support.files.exchange', lambda a, b: False)
    def save(text): write_folder(tmp_path/'model', lambda p: (p/'config.json').write_text(text))
    save('new')
    for mode in (0o700,0o750):
        (tmp_path/'model').chmod(mode)
        save(str(mode))
        assert (tmp_path/'model'/'config.json').read_text()==str(mode)
        assert stat.S_IMODE((tmp_path/'model').stat().st_mode)==mode
    assert [p.name for p in tmp_path.iterdir()]==['model']

@pytest.mark.parametrize('write', [write_file, write_folder])
def test_folders_that_were_made_for_nothing_go_again(write, tmp_path):
    (tmp_path/'here').mkdir()
    with pytest.raises(ZeroDivisionError): write(tmp_path/'here'/'new'/'newer'/'x', lambda p: 1/0)
    assert [*tmp_path.rglob('*')]==[tmp_path/'here']
    def beside(p):
        (tmp_path/'here'/'new'/'other').write_text('')
        1/0
    with pytest.raises(ZeroDivisionError): write(tmp_path/'here'/'new'/'newer'/'x', beside)
    assert sorted(p.name for p in tmp_path.rglob('*'))==['here','new','other']

def test_the_sum_of_weights_is_of_names_types_shapes_and_bytes():
    "Runs and files that were begun know it"
    model = nn.BatchNorm1d(3) # which has a number of no dimension
    model.turned = nn.Parameter(torch.arange(6, dtype=torch.bfloat16).view(2, 3).t(), requires_grad=False)
    model.none = nn.Parameter(torch.zeros(0, 3), requires_grad=False)
    want = hashlib.sha256()
    for n,p in model.state_dict().items():
        want.update(f'{n} {p.dtype} {tuple(p.shape)}'.encode()+bytes(p.contiguous().flatten().view(torch.uint8).tolist()))
    assert weights_hash(model)==want.hexdigest()
    assert weights_hash(nn.BatchNorm1d(3))=='cb6dbfa3db29c38bf53d23f053fb3924823ecdd27d15b12dc6d7cc4a25630b14'
