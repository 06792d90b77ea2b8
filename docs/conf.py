"Settings of Sphinx for the site; docs/make_site.py writes the pages."
import html, subprocess, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import make_site

cfg = make_site.settings()
project, author, version = make_site.TITLE, cfg['author'], cfg['version']
copyright = author
extensions = ['myst_nb', 'sphinx_copybutton', 'sphinx_design', 'sphinx.ext.viewcode', 'mathml']
exclude_patterns = ['_build']

nb_execution_mode = 'off'
nb_merge_streams = True
myst_enable_extensions = ['colon_fence', 'dollarmath', 'fieldlist', 'deflist', 'attrs_inline']
myst_heading_anchors = 4
myst_links_external_new_tab = False
add_module_names = False
toc_object_entries_show_parents = 'hide'
viewcode_line_numbers = True
viewcode_follow_imported_members = False  # the source of DATA is not that of pathlib

html_context = dict(default_mode='auto')
html_theme = 'sphinx_book_theme'
html_title = make_site.TITLE
html_baseurl = make_site.site_url()
html_static_path = ['static']
html_favicon = 'static/icon.svg'
html_extra_path = ['_build/extra']
html_css_files = ['site.css']
html_js_files = ['site.js']
html_copy_source = False
html_domain_indices = False
html_show_sphinx = False
html_math_renderer = 'mathml'
html_permalinks_icon = '#'
templates_path = ['templates']
try: changed = subprocess.run(['git', 'log', '-1', '--format=%cs'], cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
except OSError: changed = ''
html_theme_options = dict(
    footer_content_items='copyright.html, extra-footer.html', extra_footer=f'<p>mylib {version}' + (f', state of {changed}' if changed else '') + '. Apache licence 2.0.</p>',
    use_download_button=False, use_fullscreen_button=False, show_toc_level=2, show_navbar_depth=1, max_navbar_depth=2, home_page_in_toc=False,
    use_sidenotes=False, navbar_persistent=[], pygments_light_style='a11y-high-contrast-light', pygments_dark_style='a11y-high-contrast-dark')
if cfg.get('git_url'): html_theme_options |= dict(repository_url=cfg['git_url'], use_repository_button=True, use_issues_button=True)
copybutton_selector = 'div:not(.output) > div.highlight > pre'


LINES = {l.doc: l.line.replace('`', '') for l in make_site.lessons()} | {f'api/{l.module}': l.line.replace('`', '') for l in make_site.lessons() if l.module}


def describe(app, pagename, templatename, context, doctree):
    "What search engines and chats show of a page."
    tags = {'name="description"': LINES.get(pagename, cfg['description']), 'property="og:title"': context.get('title') or project, 'property="og:image"': html_baseurl + '_static/course.webp'}
    tags['property="og:description"'] = tags['name="description"']
    context['metatags'] = context.get('metatags', '') + '\n'.join(f'<meta {k} content="{html.escape(v)}">' for k, v in tags.items())


def setup(app): app.connect('html-page-context', describe)
