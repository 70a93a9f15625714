"`settings.ini` says what `pyproject.toml` says."
import configparser,subprocess,sys,tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]

def test_settings_follow_pyproject():
    r = subprocess.run([sys.executable, 'tools/settings.py', '--check'], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode==0, r.stdout+r.stderr

def test_settings_parse_as_ini():
    ini,proj = configparser.ConfigParser(),tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    ini.read(ROOT/'settings.ini')
    assert ini['DEFAULT']['lib_name']==proj['name']
    assert ini['DEFAULT']['requirements'].split()==proj['dependencies']

def test_a_stale_file_is_refused(tmp_path):
    for f in ('pyproject.toml', 'settings.ini', 'tools/settings.py', 'blurlike/__init__.py'):
        (tmp_path/f).parent.mkdir(exist_ok=True)
        (tmp_path/f).write_text((ROOT/f).read_text())
    ini = tmp_path/'settings.ini'
    ini.write_text(ini.read_text().replace('tst_flags = slow', 'tst_flags = fast'))
    r = subprocess.run([sys.executable, 'tools/settings.py', '--check'], cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode==1 and '-tst_flags = fast' in r.stdout and 'tools/settings.py' in r.stderr
