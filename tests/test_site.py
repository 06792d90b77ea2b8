"""The site: what docs/make_site.py makes of notebooks and names, and every page of it in a real Chromium.

The second half needs the packages of `docs_requirements` and a Chromium of the system's; without them it is skipped, and with
MYLIB_BROWSER=required (continuous integration) it fails."""
import csv, functools, http.server, importlib, json, os, re, shutil, signal, socket, subprocess, sys, threading, time
from contextlib import contextmanager
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import urlopen

import pytest
from nbread import ROOT, Notebook, notebooks

sys.path.insert(0, str(ROOT/'docs'))
import make_site as site

REQUIRED = os.environ.get('MYLIB_BROWSER') == 'required'


# The builder

@pytest.fixture(scope='module')
def names(): return site.Names(site.lessons())


@pytest.fixture(scope='module')
def made(names):
    "stem -> processed notebook of a few lessons."
    return {l.stem: json.loads(site.process(l, names)) for l in names.lessons if l.number in ('00', '03', '04')}


def lesson(names, number): return next(l for l in names.lessons if l.number == number)


def test_lessons_are_those_of_the_folder(names):
    assert [l.stem for l in names.lessons] == [o.stem for o in notebooks()]
    for l, nb in zip(names.lessons, notebooks(), strict=True):
        assert (l.title, l.line) == nb.headline and l.exercises == len(nb.exercises)
        if l.is_lesson: assert set(l.facts) == {'Before this', 'Takes', 'Paper'} and 3 < l.minutes < 120


def test_words_in_backticks(names):
    l = lesson(names, '04')
    link = lambda s: names.link(s, l)
    assert link('see `Learner.fit`') == 'see {py:obj}`Learner.fit <mylib.learner.Learner.fit>`'
    assert link('`cross_entropy(logits)`') == '`cross_entropy(logits)`', 'code, not a name'
    assert link('`accuracy`') == '{py:obj}`accuracy <mylib.losses.accuracy>`', 'where it is defined, not where it is passed on'
    assert link('`Tensor` `float` `nn.Linear` `Linear` `nonsense`') == '`Tensor` `float` `nn.Linear` `Linear` `nonsense`', 'not ours, or not surely ours'
    assert link('`train_fashion`') == '`train_fashion`', 'a tool\'s name may be another word in a lesson'
    assert names.link('`Linear`', lesson(names, '02')) == '{py:obj}`Linear <mylib.backprop.Linear>`', 'ours in its own lesson'
    assert link('```python\n`Learner`\n```') == '```python\n`Learner`\n```'
    assert link('`mylib.losses.softmax`') == '{py:obj}`mylib.losses.softmax <mylib.losses.softmax>`'
    assert link('In lesson 03, in lesson 04 and in lesson 98') == 'In [lesson 03](/lessons/03_losses), in lesson 04 and in lesson 98'
    assert link('lessons 02 to 03a, 04 and 05.') == 'lessons [02](/lessons/02_backprop) to [03a](/lessons/03a_dataloader), 04 and [05](/lessons/05_schedule).'
    assert link('03_losses, `05_schedule`, 04_learner, 05_nothing') == '[03_losses](/lessons/03_losses), [`05_schedule`](/lessons/05_schedule), 04_learner, 05_nothing'
    assert link('`03` `10` `05_schedule`') == '`03` `10` [`05_schedule`](/lessons/05_schedule)', 'numbers may be just numbers'
    assert link('[lesson 03](x) and $`Learner`$') == '[lesson 03](x) and $`Learner`$'


def test_folds():
    text = 'a\n<details><summary>Hint</summary>\n\nb\n\n</details>\n<details>\n<summary>Solution</summary>\n\n```python\nc\n```\n\n</details>\nd'
    assert site.folds(text) == 'a\n\n:::::{dropdown} Hint\nb\n:::::\n\n\n:::::{dropdown} Solution\n```python\nc\n```\n:::::\n\nd'


def test_formulas():
    assert site.formulas('a:\n$$x$$\nb $y$ c') == 'a:\n\n$$x$$\n\nb $y$ c'
    assert site.formulas('$$\nx\n$$') == '\n$$\nx\n$$\n' and site.formulas('a $$x$$ b') == 'a $$x$$ b'


def test_processed_lessons(made):
    from mylib.judge import entries
    assert len(entries('03_losses')) > 3
    for stem, nb in made.items():
        original = Notebook(ROOT/'nbs'/f'{stem}.ipynb')
        code = [c for c in nb['cells'] if c['cell_type'] == 'code']
        text = '\n'.join(c['source'] for c in nb['cells'])
        assert '#|' not in '\n'.join(c['source'] for c in code), 'directives are for nbdev, not for readers'
        assert text.count('**Takes:**') == 0 and text.count(':Takes:') == 1, 'in the box, and not again below it'
        assert '<details>' not in text and text.count('{dropdown} Hint\n') == len(original.exercises)
        assert text.count('{dropdown} Workbook, exercise ') == text.count('{dropdown} Hint 3\n') == len(entries(stem))
        assert text.count('{dropdown} Solution\n') == len(original.exercises) + len(entries(stem))
        hidden = sum('hide' in c.marks or 'default_exp' in c.marks for c in original.code)
        assert len(code) == len(original.code) - hidden
        assert sum(len(c['outputs']) for c in code) == sum(len(c.outputs) for c in original.code if 'hide' not in c.marks)
        alts = [c['metadata']['mystnb']['image']['alt'] for c in code if 'mystnb' in c['metadata']]
        assert alts == [c.marks['fig-alt'][1:-1] for c in original.code if 'fig-alt' in c.marks]
        assert 'export' in {t for c in code for t in c['metadata']['tags']}
    text = '\n'.join(c['source'] for c in made['03_losses']['cells'])
    assert re.search(r'\{dropdown\} Signature: `cross_entropy`\n:name: built-losses-\d+\n', text) and '| `logits` |' in text


def test_tables_of_outputs():
    html = lambda s: site.output(dict(data={'text/html': [s]}))['data']['text/html']
    assert html('<table id="T_1"><tr><td>1</td></tr></table>') == '<table class="dataframe" id="T_1"><tr><td>1</td></tr></table>', 'others are light in the dark'
    assert html('<table border="1" class="dataframe">') == '<table class="dataframe">'
    assert html('<th></th><th class="blank level0" >&nbsp;</th><th class="blank">1</th>') == '<td></td><td></td><th class="blank">1</th>', 'a heading has words'
    assert html('<td class="data">' + 'x'*60 + '</td>') == '<td class="data"><div class="long">' + 'x'*60 + '</div></td>'


def test_every_public_name_has_an_entry(names):
    for m in names.module:
        if m == 'all': continue
        mod = importlib.import_module(f'mylib.{m}')
        listed = {q for q, *_ in names.entries(m)}
        missing = [n for n in mod.__all__ if names.owner(m, n) == m and n not in listed]
        assert not missing, f'{m}: {missing}'
    assert {'Learner', 'Learner.fit', 'Callback'} <= {q for q, *_ in names.entries('learner')}
    assert 'Learner.fit_one_cycle' in {q for q, *_ in names.entries('schedule')}, 'methods added to the class of an earlier lesson'


def test_signatures():
    def f(x, # (n,c) logits
          y=None, *args, k:int=3, op=sorted, kind=dict, **kw): "Do."
    assert site.signature(f, 'f') == '(x, y=None, *args, k=3, op=sorted, kind=dict, **kw)'
    def g(x, *, k=1): pass
    assert site.signature(g, 'g') == '(x, *, k=1)'
    assert site.params(f)[0] == ('x', '', '', '(n,c) logits') and site.params(g) == []
    assert site.table(site.params(f)).splitlines()[2:5] == ['| `x` |  | (n,c) logits |', '| `y` | `None` |  |', '| `args` |  |  |']
    assert '| `k` [int]{.type} | `3` |  |' in site.table(site.params(f))
    assert site.plain('a*b `c*d` <x> $e$ {f}') == r'a\*b `c*d` \<x\> \$e\$ \{f\}'
    assert site.literal(object()) == 'object(...)' and site.literal(functools.partial(sorted, key=len)) == 'sorted'
    assert site.literal((len, dict)) == '(len, dict)' and site.literal((0.75, 4/3, 1e-10)) == '(0.75, 1.3333, 1e-10)'
    assert site.signature(importlib.import_module('mylib.judge').Case, 'Case').endswith("inputs=..., shown='')")
    assert '`k` [int]' in site.table(site.params(f), lambda s: s.replace('k', 'K').replace('c) logits', 'C')) and '(n,C |' in site.table(site.params(f), lambda s: s.replace('c) logits', 'C')), 'links in meanings, none in names'


def test_values():
    optim, datasets = (importlib.import_module(f'mylib.{m}') for m in ('optim', 'datasets'))
    assert site.value(datasets.DATA) == 'Path: `mylib/data`' and site.value((1, 2)) == 'tuple: `(1, 2)`'
    assert site.value(optim.sgd_step) == f'Part: {optim.sgd_step.f.__doc__}' and site.value(optim.exp_avg) == 'A Part.', 'no addresses'


def resolve(dotted):
    "The object of a dotted name."
    parts = dotted.split('.')
    for k in range(len(parts), 0, -1):
        try: obj = importlib.import_module('.'.join(parts[:k]))
        except ImportError: continue
        for p in parts[k:]: obj = getattr(obj, p)
        return obj
    raise ImportError(dotted)


def test_twins(names):
    rows = list(csv.DictReader((ROOT/'docs'/'twins.csv').read_text(encoding='utf-8').splitlines()))
    assert len({r['name'] for r in rows}) == len(rows) > 100
    written = {m for m in names.module}
    unknown = [r['name'] for r in rows if r['name'].split('.')[0] in written and r['name'] not in {f'{m}.{q}' for m in written if m != 'all' for q, *_ in names.entries(m)}]
    assert not unknown, f'not in the package: {unknown}'
    bad = []
    for r in rows:
        assert set(r) == {'name', 'torch', 'fastai', 'note'}, r
        t = r['torch']
        if t.startswith('torch.'):
            try: resolve(t)
            except (ImportError, AttributeError) as e: bad.append(f'{t}: {e}')
        else: assert not t or t.startswith('torchvision.'), t
        assert not r['fastai'] or re.fullmatch(r'(fastai|fasttransform)(\.\w+)+', r['fastai']), r['fastai']
    assert not bad, bad


def test_tower(names):
    svg = site.tower(names.lessons)
    ls = [l for l in names.lessons if l.is_lesson]
    assert re.findall(r'<a href="([^"]+)"', svg) == [f'lessons/{l.stem}.html' for l in ls]
    ys = [float(y) for y in re.findall(r'<text x="12" y="([\d.]+)"', svg)]
    assert ys == sorted(ys, reverse=True), 'the first lesson is the ground floor'
    known = {l.module for l in ls}
    assert svg.count('<path') == sum(len(l.uses & known) for l in ls) > 50


def test_words_of_the_glossary():
    assert site.terms('one-cycle\n: A schedule. Lesson 05.\n\nfan-in, fan-out\n: How many. Lesson 02b.\n\nepoch\n: One pass.\n') == {'05': ['one-cycle'], '02b': ['fan-in', 'fan-out']}
    assert {'one-cycle', 'schedule'} <= set(site.terms()['05']) and set(site.terms()) <= {f'{i:02}' for i in range(20)} | {l.number for l in site.lessons()}


def test_charts():
    assert site.numbers('0.35 to 0.42') == [(0.35, 0.42)] and site.numbers('0.75 and 0.63') == [(0.75, 0.75), (0.63, 0.63)]
    assert site.numbers('2.5 MB, 46.8 MB') == site.numbers('') == site.numbers('89.6% in 15 s') == []
    page = site.benchmarks_page("""# M

| command | what | measured | bar |
|---|---|---|---|
| `a` | fast | 0.5 | at most 1.1 |
| | slow | 1.2 to 1.5 | at most 1.1 |
| `b` | better | 2 to 4 | at least 3 |
| `c` | said | 3 MB | |
| `d` | run | 90% in 15 s | 88% in 60 s |
""")
    fast, slow, better, run = re.findall('<span class="strip".*?</li>', page)
    x = lambda v: f'{site.place(v):.1f}%'
    assert f'"sure" style="left:{x(1)};width:{site.place(2) - site.place(1):.1f}%"' in fast and f'"bar" style="left:{x(1/1.1)}"' in fast, 'half the time is twice as fast'
    assert f'"sure missed" style="left:{x(1/1.2)}' in slow and f'"range missed" style="left:{x(1/1.5)}' in slow, 'slower lies to the left'
    assert f'"range missed" style="left:{x(2)};width:{site.place(4) - site.place(2):.1f}%"' in better and f'"bar" style="left:{x(3)}"' in better
    assert 'width:25.0%' in run and site.place(.14) == 0 and site.place(99) == 100
    assert page.count('## `') == 3 and '| `c` | said | 3 MB | |' in page and '0.5 of the time, bar: at most 1.1' in page and '2 to 4 times the speed' in page


def test_links_to_hosts_need_a_setting(names, monkeypatch):
    l = lesson(names, '03')
    assert 'http' not in re.sub(r'\]\(https?://(doi|arxiv)[^)]*\)', '', site.card(l, names).split(':Notebook:')[1])
    monkeypatch.setattr(site, 'settings', lambda: dict(git_url='https://host.example/me/course', colab_url='https://colab.example/x'))
    assert '[03_losses.ipynb](https://host.example/me/course/blob/main/nbs/03_losses.ipynb)' in site.card(l, names) and 'https://colab.example/x/nbs/03_losses.ipynb' in site.card(l, names)


def test_docs_requirements_are_lower_bounds():
    reqs = site.settings()['docs_requirements'].split()
    assert reqs and all(re.fullmatch(r'[a-z0-9-]+>=\d+(\.\d+)*', r) for r in reqs)


# The built site

def chromium():
    "Path of a Chromium of the system's, or None."
    found = [os.environ.get('CHROMIUM'), *map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome', 'msedge'))]
    found += ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', r'C:\Program Files\Google\Chrome\Application\chrome.exe', r'C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe']
    return next((p for p in found if p and Path(p).exists()), None)


def missing(what):
    if REQUIRED: pytest.fail(f'{what} is missing, and MYLIB_BROWSER=required')
    pytest.skip(f'{what} is not installed: make docs, and a Chromium of your system')


@pytest.fixture(scope='session')
def html():
    "Folder of the site, built anew where a source is newer."
    for o in ('sphinx', 'myst_nb', 'sphinx_book_theme', 'sphinx_design', 'latex2mathml'):
        if not find_spec(o): missing(o)
    if not site.is_fresh():
        run = subprocess.run([sys.executable, str(ROOT/'docs'/'make_site.py')], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    return site.HTML


@pytest.fixture(scope='session')
def served(html):
    "Address of the site."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        def log_message(self, *args): pass
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(html))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/'
        server.shutdown()


@pytest.fixture(scope='session')
def browser():
    for o in ('playwright', 'axe_playwright_python'):
        if not find_spec(o): missing(o)
    path = chromium()
    if not path: missing('Chromium')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=path, args=['--no-sandbox'] if hasattr(os, 'geteuid') and os.geteuid() == 0 else [])
        yield b
        b.close()


@contextmanager
def opened(browser, theme=None, **kwargs):
    "A page that notes errors of the console, failed requests and requests to other hosts in `.faults`."
    ctx = browser.new_context(**kwargs)
    if theme: ctx.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    page = ctx.new_page()
    page.faults = []
    page.on('console', lambda m: page.faults.append(f'console: {m.text} {m.location["url"]}') if m.type == 'error' and not m.location['url'].endswith('favicon.ico') else None)
    page.on('pageerror', lambda e: page.faults.append(f'error: {e}'))
    page.on('requestfailed', lambda r: page.faults.append(f'failed: {r.url}') if r.failure != 'net::ERR_ABORTED' else None) # left before it came
    page.on('response', lambda r: page.faults.append(f'{r.status}: {r.url}') if r.status >= 400 else None)
    page.on('request', lambda r: page.faults.append(f'elsewhere: {r.url}') if urlsplit(r.url).hostname not in ('127.0.0.1', 'localhost', None) else None)
    try: yield page
    finally: ctx.close()


class Page(HTMLParser):
    "Links, anchors and pictures of a file."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.images = [], set(), []
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a: self.ids.add(a['id'])
        if tag == 'a' and 'name' in a: self.ids.add(a['name'])
        for k in ('href', 'src'):
            if a.get(k): self.links.append(a[k])
        if tag == 'img': self.images.append((a.get('src', ''), a.get('alt', '')))


@pytest.fixture(scope='session')
def parsed(html): return {p.relative_to(html).as_posix(): Page(p) for p in sorted(html.rglob('*.html')) if '_static' not in p.relative_to(html).parts}


def test_there_is_a_page_for_each(parsed, names):
    expected = {f'{l.doc}.html' for l in names.lessons if l.number != '99'} | {f'api/{m}.html' for m in names.module if m != 'all'}
    expected |= {f'{p}.html' for p in 'index stuck glossary papers data benchmarks twins search genindex 404 api/index _modules/index'.split()}
    assert expected <= set(parsed), expected - set(parsed)


def test_links_and_anchors_resolve(parsed, html):
    bad = []
    for name, page in parsed.items():
        for link in page.links:
            url, anchor = urldefrag(link)
            if urlsplit(url).scheme or url.startswith('//'): continue
            target = unquote(urljoin('/' + name, url).lstrip('/') or 'index.html').split('?')[0]
            if not (html/target).is_file(): bad.append(f'{name}: {link}')
            elif anchor and target in parsed and unquote(anchor) not in parsed[target].ids: bad.append(f'{name}: {link} (no such anchor)')
    assert not bad, bad[:20]


def test_pictures_have_alternatives(parsed):
    bad = [(n, src) for n, p in parsed.items() for src, alt in p.images if len(alt) < 20 or alt.startswith('_images') or alt.startswith('../_images')]
    assert not bad, bad[:20]


def test_names_of_functions_stand_apart():
    import mathml
    space = '<mspace width="0.17em"/>'
    assert f'<mi>x</mi>{space}<mi>ln</mi>{space}<mi>p</mi>' in mathml.convert(r'x\ln p') and space not in mathml.convert(r'\ln(p)')


def test_formulas_hold_no_prose(html):
    "A formula that begins in the wrong place swallows words, and a command that is not known stays as it is."
    bad = []
    for p in html.rglob('*.html'):
        for m in re.findall(r'<math.*?</math>', p.read_text(encoding='utf-8'), flags=re.S):
            text = re.sub(r'<[^>]+>', '', re.sub(r'<mtext>.*?</mtext>', '', m))
            if re.search(r'(<mi>[a-z]</mi>){9}', m) or '\\' in text: bad.append((p.name, text[:80]))
    assert not bad, bad


def test_no_page_mentions_a_cdn(html):
    bad = [(p.name, m) for p in html.rglob('*.html') for m in re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', p.read_text(encoding='utf-8')) if 'canonical' not in m and not m.startswith(site.site_url())]
    assert not bad, bad[:5]


def test_llms_and_sitemap(html, names):
    text = (html/'llms.txt').read_text(encoding='utf-8')
    assert text.startswith(f'# {site.TITLE}\n\n> ') and all(l.title in text for l in names.lessons if l.is_lesson)
    from xml.etree import ElementTree
    urls = [e.text for e in ElementTree.parse(html/'sitemap.xml').iter('{http://www.sitemaps.org/schemas/sitemap/0.9}loc')]
    assert len(urls) > 50 and all((html/u.removeprefix(site.site_url())).is_file() for u in urls)


def test_every_page_opens_and_fits_a_phone(browser, served, parsed):
    faults, wide = {}, []
    with opened(browser, viewport=dict(width=390, height=800)) as page:
        for name in parsed:
            page.goto(served + name, wait_until='load')
            if page.faults: faults[name] = page.faults[:3]; page.faults.clear()
            w = page.evaluate('document.documentElement.scrollWidth')
            if w > 390: wide.append((name, w))
    assert not faults, dict(list(faults.items())[:10])
    assert not wide, f'wider than the screen: {wide}'


def search(page, served, words):
    page.goto(f'{served}search.html?q={words}')
    page.wait_for_selector('#search-results ul.search li a', timeout=20_000)
    page.wait_for_function("document.querySelector('.search-summary')?.textContent.match(/[0-9]/)", timeout=20_000)
    return page.evaluate("[...document.querySelectorAll('#search-results ul.search > li > a')].map(a => new URL(a.href).pathname + new URL(a.href).hash)")


def test_search(browser, served):
    "What learners would type, and the pages of which one must be among the first three."
    right = {'one-cycle': r'/lessons/05_schedule|/api/schedule', 'BatchNorm': r'/api/norm\.html#mylib\.norm\.BatchNorm|/lessons/07_norm', 'perplexity': '/lessons/18_|/api/lm',
             'dropout': '/lessons/17a', 'momentum': '/lessons/09_optim', 'hook': r'/lessons/06_hooks|/api/hooks\.html#mylib\.hooks\.Hook$', 'gradient clipping': '/lessons/12_precision',
             'LSUV': '/lessons/07a', 'mixup': '/lessons/11', 'beam search': '/lessons/18', 'checkpoint': '/lessons/05a|/api/checkpoint', 'autocast': '/lessons/12_precision',
             'freeze': r'/lessons/15|/api/transfer\.html#mylib\.transfer\.freeze'}
    bad = {}
    for words, pattern in right.items():
        with opened(browser) as page: # a page of its own: the summaries of the results are still on their way
            found = search(page, served, words)
            if not any(re.match(pattern, f) for f in found[:3]): bad[words] = found[:5]
            assert not page.faults, page.faults
    assert not bad, bad


def test_dark_lasts(browser, served):
    theme = "document.documentElement.dataset.theme"
    lightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0)/765"
    with opened(browser, viewport=dict(width=1280, height=800), color_scheme='light') as page:
        page.goto(served)
        assert page.evaluate(theme) == 'light' and page.evaluate(lightness) > .9
        for _ in range(3): # a menu in the newer themes, a button that goes round in the older
            if page.evaluate(theme) == 'dark': break
            page.locator('button.theme-switch-button:visible').first.click()
            choice = page.locator('button.theme-change-button[data-mode="dark"]:visible')
            if choice.count(): choice.first.click()
        assert page.evaluate(theme) == 'dark' and page.evaluate(lightness) < .2
        page.reload()
        assert page.evaluate(theme) == 'dark'
        page.locator('a[href="lessons/00_core.html"]:visible').first.click()
        page.wait_for_url('**/lessons/00_core.html')
        assert page.evaluate(theme) == 'dark' and page.evaluate(lightness) < .2 and not page.faults


def test_paper_is_light_and_unfolded(browser, served):
    with opened(browser, 'dark', viewport=dict(width=1280, height=800)) as page:
        page.goto(served + 'lessons/00_core.html')
        page.evaluate("addEventListener('beforeprint', () => window.printed = [document.documentElement.dataset.theme, document.querySelectorAll('details:not([open])').length])")
        assert page.pdf()[:4] == b'%PDF' and page.evaluate('window.printed') == ['light', 0]
        assert page.evaluate('document.documentElement.dataset.theme') == 'dark' and not page.faults


def test_by_keyboard(browser, served):
    with opened(browser, viewport=dict(width=1280, height=800)) as page:
        page.goto(served + 'lessons/03_losses.html')
        page.keyboard.press('Tab')
        assert 'main content' in page.evaluate('document.activeElement.textContent').lower(), 'the first stop jumps over the menus'
        unseen = []
        for _ in range(70):
            page.keyboard.press('Tab')
            page.wait_for_function("getComputedStyle(document.activeElement).opacity > .9", timeout=5000) # it fades in
            mark = page.evaluate("(s => [s.outlineStyle != 'none' && s.outlineWidth != '0px', s.boxShadow != 'none'])(getComputedStyle(document.activeElement))")
            if not any(mark): unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
        assert not unseen, unseen
        fold = page.locator('details.sd-dropdown > summary').last
        assert not fold.evaluate('e => e.parentElement.open')
        fold.focus(); page.keyboard.press('Enter')
        assert fold.evaluate('e => e.parentElement.open')
        page.goto(served)
        floor = page.locator('svg.tower a').first
        floor.focus(); page.keyboard.press('Enter')
        page.wait_for_url('**/lessons/00_core.html')
        assert not page.faults


# One page of each kind, and lessons with every sort of output; all pages would take many minutes.
AXE = ['index.html', 'lessons/01_matmul.html', 'lessons/03_losses.html', 'lessons/10_augment.html', 'api/index.html', 'api/learner.html', 'benchmarks.html', 'glossary.html',
       'stuck.html', 'papers.html', 'data.html', 'twins.html', 'search.html?q=softmax', '404.html', '_modules/mylib/losses.html']


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_axe_finds_no_serious_fault(browser, served, theme):
    import axe_playwright_python
    script = (Path(axe_playwright_python.__file__).parent/'axe.min.js').read_text(encoding='utf-8')
    bad = []
    with opened(browser, theme, viewport=dict(width=1280, height=900)) as page:
        for name in AXE:
            page.goto(served + name, wait_until='load')
            page.evaluate(script)
            found = page.evaluate("axe.run({resultTypes: ['violations']}).then(r => r.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 160)]))")
            bad += [(name, *v) for v in found if v[0] in ('serious', 'critical')]
    assert not bad, '\n' + '\n'.join(map(str, bad))


# The server

@pytest.mark.skipif(os.name == 'nt', reason='Ctrl-C goes to a group of processes')
def test_serve_shows_what_is_saved_and_ends_whole(html, tmp_path):
    "On a copy with two lessons: `make docs-serve` shows them, and a changed sentence; Ctrl-C leaves no process."
    shutil.copytree(ROOT/'docs', tmp_path/'docs', ignore=shutil.ignore_patterns('_build', '__pycache__'))
    shutil.copytree(ROOT/'mylib', tmp_path/'mylib', ignore=shutil.ignore_patterns('__pycache__'))
    (tmp_path/'nbs').mkdir()
    for name in ('settings.ini', 'pyproject.toml', 'nbs/00_core.ipynb', 'nbs/00a_datasets.ipynb'): shutil.copy(ROOT/name, tmp_path/name)
    nb = tmp_path/'nbs'/'00_core.ipynb'
    port = free_port()
    def comes(words, seconds=300):
        for _ in range(2*seconds):
            assert server.poll() is None and 'Traceback' not in (tmp_path/'log').read_text(), (tmp_path/'log').read_text()[-3000:]
            try:
                with urlopen(f'http://127.0.0.1:{port}/lessons/00_core.html', timeout=5) as r:
                    if words in r.read().decode(): return
            except OSError: pass
            time.sleep(.5)
        pytest.fail(f'{words!r} does not come\n' + (tmp_path/'log').read_text()[-3000:])
    with (tmp_path/'log').open('w') as log:
        server = subprocess.Popen([sys.executable, str(tmp_path/'docs'/'make_site.py'), '--serve', str(port)], cwd=tmp_path, env=os.environ | dict(BROWSER='true'),
                                  stdout=log, stderr=log, start_new_session=True)
    try:
        comes('Lesson 00')
        text = json.loads(nb.read_text(encoding='utf-8'))
        text['cells'][2]['source'] = [*text['cells'][2]['source'], '\n\nA sentence that was not there before.']
        nb.write_text(json.dumps(text), encoding='utf-8')
        comes('A sentence that was not there before.')
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(30) == 0
        with pytest.raises(OSError): urlopen(f'http://127.0.0.1:{port}/', timeout=5)
        for _ in range(20):
            try: os.killpg(server.pid, 0)
            except ProcessLookupError: break
            time.sleep(.5)
        else: pytest.fail('processes are left')
    finally:
        try: os.killpg(server.pid, signal.SIGKILL)
        except ProcessLookupError: pass


# JupyterLab

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]


@pytest.fixture
def lab(tmp_path):
    "Address of a JupyterLab over a copy of lesson 04 without outputs."
    if not find_spec('jupyterlab'): missing('jupyterlab')
    nb = json.loads((ROOT/'nbs'/'04_learner.ipynb').read_text(encoding='utf-8'))
    for c in nb['cells']:
        if c['cell_type'] == 'code': c['outputs'] = []
    settings = tmp_path/'JUPYTERLAB_SETTINGS_DIR'/'@jupyterlab'/'notebook-extension'/'tracker.jupyterlab-settings'
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}', encoding='utf-8') # all cells are in the page, not only those near the window
    (tmp_path/'nbs').mkdir()
    (tmp_path/'nbs'/'04_learner.ipynb').write_text(json.dumps(nb), encoding='utf-8')
    port = free_port()
    env = os.environ | {k: str(tmp_path/k) for k in ('JUPYTER_CONFIG_DIR', 'JUPYTER_RUNTIME_DIR', 'JUPYTERLAB_SETTINGS_DIR', 'JUPYTERLAB_WORKSPACES_DIR')} | dict(MYLIB_DEVICE='cpu')
    env.pop('MPLBACKEND', None) # figures go into the notebook
    cmd = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', f'--port={port}', '--port-retries=0', '--IdentityProvider.token=', '--ServerApp.password=',
           '--LabApp.news_url=None', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', f'--ServerApp.root_dir={tmp_path}/nbs']
    with (tmp_path/'log').open('w') as log: server = subprocess.Popen(cmd, cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        for _ in range(240):
            assert server.poll() is None, (tmp_path/'log').read_text()[-3000:]
            try:
                with urlopen(f'http://127.0.0.1:{port}/api', timeout=5): break
            except OSError: time.sleep(.5)
        else: pytest.fail((tmp_path/'log').read_text()[-3000:])
        yield f'http://127.0.0.1:{port}/'
    finally:
        server.terminate()
        try: server.wait(20)
        except subprocess.TimeoutExpired: server.kill()


def kernel_becomes(lab, state, seconds):
    "Wait until the one kernel is in a state."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urlopen(f'{lab}api/kernels', timeout=30) as r:
                if [k['execution_state'] for k in json.load(r)] == [state]: return
        except OSError: pass # the server answers 500 while a kernel starts
        time.sleep(.3)
    raise TimeoutError(f'the kernel of lesson 04 was not {state} within {seconds} seconds')


def test_lesson_04_in_jupyterlab(browser, lab, tmp_path):
    with opened(browser, viewport=dict(width=1280, height=1000)) as page:
        page.add_init_script("""window.bar = 0;
            new MutationObserver(() => { const e = document.querySelector('.jp-OutputArea progress');
                if (e && !window.bar) { e.scrollIntoView({block: 'center'}); window.bar = e.getBoundingClientRect().width } }).observe(document, {childList: true, subtree: true})""")
        page.goto(lab + 'lab/tree/04_learner.ipynb?reset', wait_until='domcontentloaded', timeout=120_000)
        page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=120_000)
        kernel_becomes(lab, 'idle', 120)
        page.wait_for_timeout(2000) # until the page knows it too
        page.locator('.lm-MenuBar-item', has_text='Run').first.click()
        page.locator('.lm-Menu-item', has_text='Run All Cells').first.click()
        file = tmp_path/'nbs'/'04_learner.ipynb'
        waiting = "[...document.querySelectorAll('.jp-InputPrompt')].filter(e => e.textContent.includes('*')).length"
        page.wait_for_function(f'{waiting} > 1', timeout=60_000)
        shot = os.environ.get('MYLIB_SCREENSHOT') # where to keep pictures of a bar and of a figure, out of the repository
        while shot and page.evaluate(waiting):
            if page.evaluate("(e => { e?.scrollIntoView({block: 'center'}); return !!e })(document.querySelector('.jp-OutputArea progress'))"):
                page.screenshot(path=f'{shot}-bar.png')
                if page.query_selector('.jp-OutputArea progress'): break # it was there all the time
        page.wait_for_function(f'{waiting} == 0', timeout=500_000)
        kernel_becomes(lab, 'idle', 60)
        assert page.evaluate('window.bar') > 50, 'no progress bar as wide as a finger'
        page.keyboard.press('Control+s')
        for _ in range(120): # the file may be that of an earlier automatic save, or empty while the server writes it
            text = file.read_text(encoding='utf-8')
            cells = [c for c in json.loads(text)['cells'] if c['cell_type'] == 'code' and ''.join(c['source']).strip()] if text else []
            errors = [o['ename'] for c in cells for o in c['outputs'] if o['output_type'] == 'error']
            if errors or cells and all(c['execution_count'] for c in cells): break
            page.wait_for_timeout(500)
        else: pytest.fail('cells that were not run')
        assert not errors, errors
        image = page.locator('.jp-OutputArea .jp-RenderedImage img').first
        image.scroll_into_view_if_needed(timeout=60_000)
        assert image.is_visible() and image.bounding_box()['width'] > 50, 'no figure'
        boxed = page.locator('.jp-needs-dark-background, .jp-needs-light-background').count()
        assert not boxed, 'figures stand on the page, not in a box of the other shade'
        if shot: page.screenshot(path=f'{shot}-figure.png')
