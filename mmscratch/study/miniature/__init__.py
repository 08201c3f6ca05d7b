"""The paper's claims on SHAPES."""

from pathlib import Path
from typing import Any

from mmscratch.study.claim import Study, read_claims
from mmscratch.study.miniature import data, figures, judges, plan
from mmscratch.study.seed_statistics import Results, final, spread

WORDS, CLAIMS = read_claims(Path(__file__).with_name('claims.yml'), plan, judges)


def _values(results: Results) -> dict[str, Any]:
    """What the introduction names."""
    classifiers = ''
    for name, norm in (('classifier', 'GN'), ('classifier_bn', 'BN')):
        if name in results:
            right = f'{spread(final(results, name, "accuracy"))} % of its validation images.'
            classifiers += f' The classifier with {norm} is right on {right}'
    return dict(
        data=data,
        plan=plan,
        classes=len(data.DETECTION.classes),
        others=len(data.CLASSIFICATION.classes),
        batch=plan.constant_part('scratch', 0).load().train_dataloader.batch_size,
        classifiers=classifiers,
    )


STUDY = Study('miniature', WORDS, _values, CLAIMS, {'subsets': figures.draw_subsets})
