"""Whether decide is right: its predictions against what more images then gave."""

from functools import partial
from pathlib import Path

from mmscratch.study.calibration import data, figures, judges, plan
from mmscratch.study.claim import Study, read_claims

WORDS, CLAIMS = read_claims(Path(__file__).with_name('claims.yml'), plan, judges)


STUDY = Study(
    'calibration',
    WORDS,
    lambda _: dict(plan=plan, data=data),
    CLAIMS,
    {kind: partial(figures.draw_predictions, kind=kind) for kind in plan.KINDS}
    | {'decisions': figures.draw_decisions},
    {kind: partial(judges.table, kind=kind) for kind in plan.KINDS}
    | {
        'ways': partial(judges.table_of_ways, kind='drawn'),
        'schedules': judges.table_of_schedules,
        'boards': judges.table_of_boards,
        'decisions': judges.table_of_decisions,
    },
)
