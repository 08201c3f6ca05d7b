import base64
import re
from xml.etree import ElementTree

import cv2
import jinja2
import numpy as np
import pytest

from mmscratch.visualization import html_page

TEMPLATE = """{% extends 'page.html.jinja' %}
{% import 'parts.html.jinja' as parts %}
{% block title %}{{ title }}{% endblock %}
{% block content %}
{{ parts.table('AP', ['run', 'AP'], rows) }}
{{ parts.key(9, title) }}
{% endblock %}
"""


def page(folder, **values):
    (folder / 'own.html.jinja').write_text(TEMPLATE)
    return html_page.render(folder / 'own.html.jinja', **values)


def test_what_comes_from_users_is_escaped(tmp_path):
    text = page(tmp_path, title='<script>', rows=[['<b>', '"&']])
    assert '<script' not in text
    assert '<title>&lt;script&gt;</title>' in text
    assert '<th scope="row">&lt;b&gt;</th>' in text
    assert '&#34;&amp;' in text
    # series begin again where there are no more colors
    assert 'var(--series-2)' in text


def test_a_page_needs_no_network_and_refreshes_only_if_told(tmp_path):
    text = page(tmp_path, title='', rows=[])
    assert "default-src 'none'" in text
    assert not re.search(r'https?://', text)
    assert 'http-equiv="refresh"' not in text
    assert '<meta http-equiv="refresh" content="9">' in page(tmp_path, title='', rows=[], refresh=9)


def test_a_value_that_is_missing_is_told(tmp_path):
    with pytest.raises(jinja2.UndefinedError, match='title'):
        page(tmp_path, rows=[])


def drawn():
    figure, axes = html_page.new_figure()
    axes.plot([1, 2], [3, 4], 'C1o-', label='a < b & #1f77b4')
    axes.axvline(1, color='gray')
    axes.legend()
    return figure


def test_a_figure_has_the_colors_of_the_page_and_text_as_text():
    text = html_page.svg(drawn(), 'ap', 'AP of "a" < "b"')
    element = ElementTree.fromstring(text)
    assert element.get('aria-label') == 'AP of "a" < "b"'
    assert element.get('role') == 'img'
    # an absolute size would not shrink on a phone
    assert element.get('width') is None
    words = [node.text for node in element.iter() if node.tag.endswith('text')]
    assert 'a < b & #1f77b4' in words
    styles = ' '.join(node.get('style', '') for node in element.iter())
    assert {'var(--series-2)', 'var(--muted)', 'var(--ink)', 'var(--line)'} <= set(
        re.findall(r'var\(--[\w-]+\)', styles)
    )
    assert not re.search(r'#[0-9a-f]{6}', styles)


def test_the_same_figure_has_the_same_bytes_and_its_own_identifiers():
    assert html_page.svg(drawn(), 'a', '') == html_page.svg(drawn(), 'a', '')
    names = [set(re.findall(r'id="([^"]*)"', html_page.svg(drawn(), n, ''))) for n in 'ab']
    assert names[0]
    assert not names[0] & names[1]
    text = html_page.svg(drawn(), 'a', '')
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', text)) <= names[0]


def test_an_image_is_its_own_address():
    image = np.full((8, 12, 3), (200, 30, 30), np.uint8)
    kind, data = html_page.jpeg(image).split(',')
    assert kind == 'data:image/jpeg;base64'
    again = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(again.astype(int) - image).max() < 12
