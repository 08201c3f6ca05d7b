"""ImageNet's weights, random ones and others on real images."""

from pathlib import Path
from typing import Any

from mmscratch.study.claim import Study, read_claims
from mmscratch.study.real import data, figures, judges, plan
from mmscratch.study.seed_statistics import Results

WORDS, CLAIMS = read_claims(Path(__file__).with_name('claims.yml'), plan, judges)


def _values(_: Results) -> dict[str, Any]:
    """What the introduction names."""
    sources = '\n'.join(
        f'| {source.title} | {source.images[0]:,} and {source.images[1]:,} | {source.licence} | '
        f'{source.url} | {source.changes} |'
        for source in data.SOURCES.values()
    )
    return dict(plan=plan, sources=sources)


STUDY = Study('real', WORDS, _values, CLAIMS, {'arms': figures.draw_arms})
