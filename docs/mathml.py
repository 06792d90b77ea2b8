"Sphinx extension: formulas as MathML, which browsers draw by themselves, without a script and without a network."
from latex2mathml.converter import convert


def inline(self, node):
    from docutils import nodes
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(self, node):
    from docutils import nodes
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer('mathml', (inline, None), (block, None))
    return dict(parallel_read_safe=True, parallel_write_safe=True)
