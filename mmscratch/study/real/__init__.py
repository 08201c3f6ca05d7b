"""ImageNet's weights, random ones and others on real images."""

from pathlib import Path

from mmscratch.study.claim import Study, read_claims
from mmscratch.study.page import all_costs
from mmscratch.study.real import data, figures, judges, plan
from mmscratch.study.seed_statistics import Results
from mmscratch.study.verdict import AS_GOOD

_WORDS, CLAIMS = read_claims(Path(__file__).with_name('claims.yml'), plan, judges)


def _introduction(results: Results) -> str:
    """The words, with numbers from the plan, and of the runs from results."""
    sources = '\n'.join(
        f'| {source.title} | {source.images[0]:,} and {source.images[1]:,} | {source.licence} | '
        f'{source.url} | {source.changes} |'
        for source in data.SOURCES.values()
    )
    text = _WORDS.format(plan=plan, as_good=100 * AS_GOOD, sources=sources)
    return f'{text}\n{all_costs(results)}\n'


STUDY = Study('real', CLAIMS, _introduction, {'arms': figures.draw_arms})
