"A headless Chromium for the tests, and how well a page's text can be read. Both extras of `e2e` are needed; without them these tests are skipped."
import os,shutil
from pathlib import Path

import pytest

from test_notebooks import BROWSERS

ARGS = '--disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()

@pytest.fixture(scope='module')
def chromium():
    "A browser: the machine's own Chromium or Chrome, or the one that Playwright has installed."
    api = pytest.importorskip('playwright.sync_api', reason="playwright is not installed: pip install -e '.[dev,e2e]'")
    with api.sync_playwright() as p:
        path = next(filter(None, map(shutil.which, BROWSERS)), p.chromium.executable_path)
        if not Path(path).exists(): pytest.skip('no Chromium here: apt-get install chromium, or playwright install chromium')
        browser = p.chromium.launch(executable_path=path, args=ARGS+['--no-sandbox']*(os.geteuid()==0))
        yield browser
        browser.close()

# For each piece of text below the elements of a selector: what it says, and its contrast as WCAG 2 reckons it; see-through colours and opacity are laid over what is behind them
CONTRASTS = '''(roots) => {
    const rgba = s => { const n = s.match(/[\\d.]+/g).map(Number), k = s.startsWith('color(') ? 255 : 1; return [n[0]*k, n[1]*k, n[2]*k, n[3] ?? 1] };
    const over = (top, below, share=1) => below.map((b,i) => b+(top[i]-b)*top[3]*share);
    const light = c => { const [r,g,b] = c.map(v => (v /= 255)<=.03928 ? v/12.92 : ((v+.055)/1.055)**2.4); return .2126*r+.7152*g+.0722*b };
    const contrast = el => {
        const line = []; for (let e = el; e; e = e.parentElement) line.unshift(e);
        let back = [255,255,255], share = 1;
        for (const e of line) { const s = getComputedStyle(e); share *= +s.opacity; back = over(rgba(s.backgroundColor), back, share) }
        const [a,b] = [light(over(rgba(getComputedStyle(el).color), back, share)), light(back)].sort((x,y) => x-y);
        return (b+.05)/(a+.05);
    };
    const found = [];
    for (const root of roots) {
        const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) { const n = texts.currentNode; if (n.data.trim()) found.push([n.data.trim(), contrast(n.parentElement)]) }
    }
    return found;
}'''

def contrasts(locator):
    "Pairs of text and its contrast with the ground it stands on (1 to 21), for all text inside what `locator` finds."
    return locator.evaluate_all(CONTRASTS)
