"""A study: claims or questions, each with its runs, its judge and its words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from mmscratch.study.run import Run
from mmscratch.study.seed_statistics import Results
from mmscratch.study.verdict import OPEN, Verdict

# Panels of AP against the schedule's length, or the name of a figure of the study's own
Figure = str | Sequence[Sequence[str]]


@dataclass(frozen=True)
class Claim:
    """An entry of a study's claims.yml, which says what the attributes are."""

    number: int
    title: str
    source: str
    full_size: str
    setup: str
    runs: Callable[[int], list[Run]]
    judge: Callable[[Results], Verdict]
    rule: str
    metrics: Sequence[str] = ('bbox_mAP', 'segm_mAP')
    reason: str = ''
    figure: Figure = ()
    table: str = ''

    def of_seeds(self, seeds: Sequence[int]) -> list[Run]:
        """The runs of these seeds that the judge compares; some are runs of other claims too."""
        return [run for seed in seeds for run in self.runs(seed)]

    def verdict(self, results: Results) -> Verdict:
        """What the judge says; one seed of any run decides nothing."""
        verdict = self.judge(results)
        if any(len(results[run.name]) < 2 for run in self.of_seeds([0])):
            return Verdict(OPEN, f'{verdict.numbers} (one seed)')
        return verdict


@dataclass(frozen=True)
class Study:
    """What a study consists of.

    Args:
        name: of its folder in results/ and in work_dirs/.
        words: the beginning of the page, with the names of values in braces.
        values: name -> value, from all results; the page itself knows ``costs`` and ``as_good``.
        claims: in the order of the page.
        figures: name of a figure of its own -> draws it from results into a file.
        tables: name of a table of its own -> its Markdown, from results.
    """

    name: str
    words: str
    values: Callable[[Results], dict[str, Any]]
    claims: tuple[Claim, ...]
    figures: dict[str, Callable[[Results, Path], None]]
    tables: dict[str, Callable[[Results], str]] = field(default_factory=dict)


def read_claims(words: Path, plan: ModuleType, judges: ModuleType) -> tuple[str, tuple[Claim, ...]]:
    """Read the introduction and the claims of a claims.yml.

    Args:
        words: the file.
        plan: has the functions that the entries name as ``runs``.
        judges: has those that they name as ``judge``.
    """
    content = yaml.safe_load(words.read_text())
    claims = []
    for entry in content['claims']:
        runs, judge = getattr(plan, entry.pop('runs')), getattr(judges, entry.pop('judge'))
        if part := entry.pop('part', None):
            runs, judge = partial(runs, part=part), partial(judge, part=part)
        claims.append(Claim(runs=runs, judge=judge, **entry))
    return content['introduction'], tuple(claims)
