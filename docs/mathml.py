"Sphinx extension: formulas as MathML, which browsers draw by themselves, without a script and without a network."
import re

from latex2mathml.converter import convert as to_mathml

NAME = '<mi>(?:ln|log|exp|sin|cos|tanh)</mi>'


def convert(tex, **kwargs):
    "MathML of a formula, with a thin space around the names of functions: `x ln p`, and not `xlnp`."
    s = to_mathml(tex, **kwargs)
    s = re.sub(rf'({NAME})(?!</|<mo stretchy="false">&#x00028;)', r'\1<mspace width="0.17em"/>', s)
    return re.sub(rf'(</(?:mi|mn|msub|msup|msubsup|mfrac|mrow)>)({NAME})', r'\1<mspace width="0.17em"/>\2', s)


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
