#!/usr/bin/env python3
"Draw docs/static/course.webp, the picture of the README and of the front page, from figures stored in the lessons."
import base64, io, json
from pathlib import Path

from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT/'docs'/'static'/'course.webp'
# Lesson, and how the alternative text of one of its figures begins.
PANELS = [('01_matmul', 'Horizontal bars'), ('05_schedule', 'Loss against learning rate on a log axis'), ('06_hooks', 'Colourful dimension'),
          ('10_augment', 'A grid of 24 versions'), ('11_mixup', 'The moons twice'), ('19_ulmfit', 'Two bar charts over the tokens')]
WIDE, HIGH, TITLE, GAP, GREY = 460, 236, 40, 28, '#808080'  # pixels; the grey is that of the figures, for light pages and dark ones


def figure(stem, alt):
    "The title of a lesson up to its colon, and its stored figure whose alternative text begins with `alt`."
    cells = json.loads((ROOT/'nbs'/f'{stem}.ipynb').read_text(encoding='utf-8'))['cells']
    found = [o['data']['image/png'] for c in cells if f'#| fig-alt: "{alt}' in ''.join(c['source']) for o in c.get('outputs', []) if 'image/png' in o.get('data', {})]
    if len(found) != 1: raise ValueError(f'{stem} has {len(found)} figures whose fig-alt begins with "{alt}", expected one: see PANELS in tools/picture.py')
    return ''.join(cells[0]['source']).splitlines()[0].removeprefix('# ').split(':')[0], Image.open(io.BytesIO(base64.b64decode(''.join(found[0])))).convert('RGBA')


def draw(columns=3):
    "The panels in rows, on a transparent ground."
    font = ImageFont.truetype(findfont('DejaVu Sans'), 22)
    rows = -(-len(PANELS)//columns)
    res = Image.new('RGBA', (columns*(WIDE + GAP) - GAP, rows*(TITLE + HIGH + GAP) - GAP))
    for i, (stem, alt) in enumerate(PANELS):
        x, y = i % columns*(WIDE + GAP), i//columns*(TITLE + HIGH + GAP)
        title, im = figure(stem, alt)
        ImageDraw.Draw(res).text((x, y), f'{stem.split("_")[0]}  {title}', font=font, fill=GREY)
        k = min(WIDE/im.width, HIGH/im.height)
        im = im.resize((round(im.width*k), round(im.height*k)), Image.Resampling.LANCZOS)
        res.paste(im, (x, y + TITLE))
    return res


if __name__ == '__main__': draw().save(OUT, quality=90, method=6)
