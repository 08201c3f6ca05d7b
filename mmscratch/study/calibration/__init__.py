"""Whether decide is right: its predictions against what more images then gave."""

from functools import partial
from pathlib import Path

from mmscratch.study.calibration import data, figures, judges, plan
from mmscratch.study.claim import Study, read_claims
from mmscratch.study.page import all_costs
from mmscratch.study.seed_statistics import Results

_WORDS, CLAIMS = read_claims(Path(__file__).with_name('claims.yml'), plan, judges)


def _introduction(results: Results) -> str:
    """The words, with numbers from the plan, and of the runs from results."""
    return f'{_WORDS.format(plan=plan, data=data)}\n{all_costs(results)}\n'


STUDY = Study(
    'calibration',
    CLAIMS,
    _introduction,
    {kind: partial(figures.draw_predictions, kind=kind) for kind in plan.KINDS},
    {kind: partial(judges.table, kind=kind) for kind in plan.KINDS}
    | {'schedules': judges.table_of_schedules},
)
