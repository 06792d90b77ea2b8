"Settings of Sphinx for the site; docs/make_site.py writes the pages."
import sys
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
html_theme_options = dict(
    use_download_button=False, use_fullscreen_button=False, show_toc_level=2, show_navbar_depth=1, max_navbar_depth=2, home_page_in_toc=False,
    use_sidenotes=False, navbar_persistent=[], pygments_light_style='a11y-high-contrast-light', pygments_dark_style='a11y-high-contrast-dark')
if cfg.get('git_url'): html_theme_options |= dict(repository_url=cfg['git_url'], use_repository_button=True, use_issues_button=True)
copybutton_selector = 'div:not(.output) > div.highlight > pre'
