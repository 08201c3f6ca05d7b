"""Whether decide is right: its predictions against what more images then gave."""

from functools import partial
from pathlib import Path

from mmscratch.study.calibration import data, figures, judges, plan
from mmscratch.study.claim import Study, read_claims
from mmscratch.study.page import cost
from mmscratch.study.seed_statistics import Results

_WORDS, CLAIMS = read_claims(Path(__file__).with_name('claims.yml'), plan, judges)


def _introduction(results: Results) -> str:
    """The words, with numbers from the plan, and of the runs from results."""
    text = _WORDS.format(plan=plan, data=data) + '\n'
    every = [result for of_seeds in results.values() for result in of_seeds]
    machines = '; '.join(sorted({result['hardware'] for result in every}))
    return f'{text}{cost(results)}; several run at a time ({machines}).\n' if every else text


STUDY = Study(
    'calibration',
    CLAIMS,
    _introduction,
    {kind: partial(figures.draw_predictions, kind=kind) for kind in plan.KINDS},
    {kind: partial(judges.table, kind=kind) for kind in plan.KINDS}
    | {'schedules': judges.table_of_schedules},
)
