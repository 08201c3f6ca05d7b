"""The paper's claims on SHAPES."""

from pathlib import Path

from mmscratch.study.claim import Study, read_claims
from mmscratch.study.miniature import data, figures, judges, plan
from mmscratch.study.page import all_costs
from mmscratch.study.seed_statistics import Results, final, spread
from mmscratch.study.verdict import AS_GOOD

_WORDS, CLAIMS = read_claims(Path(__file__).with_name('claims.yml'), plan, judges)


def _introduction(results: Results) -> str:
    """The words, with numbers from the plan, and of the runs from results."""
    text = _WORDS.format(
        data=data,
        plan=plan,
        as_good=100 * AS_GOOD,
        classes=len(data.DETECTION.classes),
        others=len(data.CLASSIFICATION.classes),
        batch=plan.constant_part('scratch', 0).load().train_dataloader.batch_size,
    )
    text += f'\n{all_costs(results)}'
    for name, norm in (('classifier', 'GN'), ('classifier_bn', 'BN')):
        if name in results:
            accuracy = spread(final(results, name, 'accuracy'))
            text += (
                f' The classifier with {norm} is right on {accuracy} % of its validation images.'
            )
    return text + '\n'


STUDY = Study('miniature', CLAIMS, _introduction, {'subsets': figures.draw_subsets})
