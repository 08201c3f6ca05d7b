"""Self-contained HTML pages of results: one file that needs no network, in light and dark.

A page is a jinja2 template that extends ``page.html.jinja`` of this folder, which has the styles,
and takes tables, figures and bars from ``parts.html.jinja``::

    {% extends 'page.html.jinja' %}
    {% import 'parts.html.jinja' as parts %}
    {% block title %}Runs{% endblock %}
    {% block content %}
    {{ parts.figure(curves, 'AP against iterations.') }}
    {{ parts.table('AP of the runs', ['run', 'AP'], rows) }}
    {% endblock %}

Whatever is put into a page is escaped, since names of classes and files come from users.
"""

import base64
import io
import re
import warnings
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

# Matplotlib's colors -> those of the page, which differ in light and dark
COLORS = {
    '#000000': 'var(--ink)',
    '#ffffff': 'var(--paper)',
    '#808080': 'var(--muted)',
    '#b0b0b0': 'var(--line)',  # of a grid
    '#cccccc': 'var(--line)',  # around a legend
} | {to_hex(f'C{i}'): f'var(--series-{i + 1})' for i in range(8)}
# What tells series apart beside their color; in figures and in text
MARKERS, SIGNS = 'os^DvPX*', '●■▲◆▼✚✖★'


def render(template: Path, **values: Any) -> str:
    """The page that a template gives, which may extend and import those of this folder.

    The same values give the same text.

    Args:
        template: a file of jinja2.
        values: by their names in the template. ``refresh`` is the number of seconds after which a
            browser loads the page again; a page without it is final.

    Raises:
        jinja2.UndefinedError: the template names a value that is not there.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        extensions=['jinja2.ext.do'],
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= dict(refresh=None, signs=SIGNS)
    environment.filters['thousands'] = '{:,}'.format
    return environment.get_template(template.name).render(values)


def new_figure(width: float = 4.2, height: float = 3.0) -> tuple[Figure, Any]:
    """A figure of this many inches, which is legible on a phone, and its axes."""
    figure = Figure(figsize=(width, height), layout='constrained')
    axes = figure.subplots()
    axes.grid(linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def svg(figure: Figure, name: str, description: str) -> Markup:
    """A figure as an element of the page; its colors follow the page and its text stays text.

    Black, white, gray and the colors ``C0`` to ``C7`` become the page's own.

    Args:
        figure: of matplotlib.
        name: an identifier, another one for each figure of a page.
        description: what it shows, for those who can't see it.
    """
    file = io.StringIO()
    nothing = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
    with rc_context({'svg.fonttype': 'none'}), warnings.catch_warnings():
        # browsers have the letters that matplotlib's font lacks
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        # without date and with names that don't vary, the same figure gives the same bytes
        with rc_context({'svg.hashsalt': 'mmscratch'}):
            figure.savefig(file, format='svg', metadata=nothing, transparent=True)
    text = file.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<style.*?</style>', '', text, flags=re.DOTALL)
    text = re.sub(r'(?<=: )#[0-9a-f]{6}\b', lambda match: COLORS.get(match[0], match[0]), text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf'\1{name}-', text)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box
    label = Markup('role="img" aria-label="{}"').format(description)
    head = f'<svg {box[0]} {label} xmlns:xlink="http://www.w3.org/1999/xlink">'
    return Markup(re.sub(r'<svg.*?>', lambda match: head, text, count=1, flags=re.DOTALL).strip())


def thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """An image (H, W, C) whose longer side has at most ``side`` pixels."""
    factor = min(1, side / max(image.shape[:2]))
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def jpeg(image: np.ndarray, quality: int = 85) -> str:
    """An image as the address of itself, for ``src`` and ``href``.

    Args:
        image: (H, W, 3), blue first, as OpenCV reads it.
        quality: up to 100.
    """
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
