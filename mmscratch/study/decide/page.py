"""The page of a decision, ``index.html``: one file, which is written again while runs are trained.

It is made of ``plan.json`` and ``decide.json``, and of the pictures in ``examples.json``
(:mod:`examples`). The same files give the same bytes.
"""

import json
import math
import re
import shlex
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from markupsafe import Markup

from mmscratch.errors import InputError
from mmscratch.process import whole_file
from mmscratch.study.decide import answer, decision, examples, figures
from mmscratch.study.decide import plan as planning
from mmscratch.study.decide.arm import OWN, Arm
from mmscratch.study.decide.plan import Cost, Plan
from mmscratch.study.run import Data, folder_name, own_seconds
from mmscratch.study.seed_statistics import Results
from mmscratch.visualization import html_page

PAGE = 'index.html'
TEMPLATE = Path(__file__).with_name('decision.html.jinja')
# while runs are trained
REFRESH_SECONDS = 60
SIZES = {
    'bbox_mAP': 'all',
    'bbox_mAP_s': 'small, below 32² px',
    'bbox_mAP_m': 'medium',
    'bbox_mAP_l': 'large, from 96² px',
}
CLASS = 'bbox_AP/'


def write(folder: Path, running: bool = False) -> Path:
    """Write the page of what is there so far.

    Args:
        folder: of the decision.
        running: whether runs are being trained: a browser then loads the page again and again.

    Returns:
        the file.

    Raises:
        InputError: there is no decision in the folder.
    """
    plan_file, answer_file = folder / decision.PLAN, folder / decision.ANSWER
    for file in (plan_file, answer_file):
        if not file.is_file():
            raise InputError(f'{file}: no such file; make it with tools/decide.py')
    kept, found = json.loads(plan_file.read_text()), json.loads(answer_file.read_text())
    text = _Page(folder, kept, found).render(running)
    whole_file.write(folder / PAGE, text)
    return folder / PAGE


@dataclass
class _Page:
    """Args: the folder, what plan.json has, what decide.json has."""

    folder: Path
    kept: dict[str, Any]
    found: dict[str, Any]

    def __post_init__(self) -> None:
        question = self.kept['question']
        arms = (Arm(**arm) for arm in question['arms'])
        self.plan = Plan.of_file(self.kept, arms, Data('', question['data']))
        self.arms = [arm.name for arm in self.plan.arms]
        results: Results = defaultdict(list)
        for run in self.found['runs']:
            results[run['name']].append(run)
        self.results = dict(results)
        # arm, images, N of Nx, results of the seeds
        self.groups = [
            (arm, part, n, self.results[name])
            for part in self.plan.parts
            for arm in self.arms
            for n in self.plan.lengths
            if (name := self.plan.name(arm, part, n)) in results
        ]
        # of which there is a run
        self.present = [arm for arm in self.arms if any(name == arm for name, *_ in self.groups)]
        self.parts = sorted({part for _, part, *_ in self.groups})

    def render(self, running: bool) -> str:
        done = sum(len(of_seeds) for *_, of_seeds in self.groups)
        planned = len(self.arms) * len(self.plan.parts) * len(self.plan.lengths) * self.plan.seeds
        kept, cost = self.kept, Cost(**self.kept['cost'])
        failed = self.found['failed']
        ended = {f'{run["name"]}_seed{run["seed"]}' for run in self.found['runs']} | set(failed)
        left = planning.seconds_left(self.plan, cost, kept['jobs'], ended, kept['spent'])
        fullest = self._fullest()
        return html_page.render(
            TEMPLATE,
            refresh=REFRESH_SECONDS if running else None,
            running=running,
            plan=self.plan,
            arms=self.arms,
            # of each the sentence that says who is ahead, and the rest
            verdict=[_divided(text) for text in self.found['verdict']],
            done=done,
            planned=planned,
            needs_budget=self.found['needs_budget'],
            left=_duration(left),
            basis=self._basis(done),
            is_voc=any('voc_mAP' in run['history'][-1] for *_, of in self.groups for run in of),
            gaps=[self._gap(comparison) for comparison in self.found['comparisons']],
            furthest=answer.FURTHEST_IMAGES,
            figures=self._figures(),
            iterations_on=self.found['by_iterations_on'],
            failed=failed,
            length=self._longest_fitted(),
            measured=self.parts,
            fullest=fullest,
            breakdown=self._breakdown(*fullest) if fullest else {},
            examples=examples.of(
                self.folder, self._checkpoints(self.arms if running else self.present)
            ),
            present=self.present,
            data=self.found['data'],
            counts=self._counts(),
            classes=self._classes(),
            costs=[self._cost(arm) for arm in self.arms],
            commands=self._commands(),
            runs=[self._row(arm, part, n, run) for arm, part, n, of in self.groups for run in of],
            software=Counter(
                ', '.join(f'{name} {number}' for name, number in run.get('versions', {}).items())
                for run in self.found['runs']
            ),
            question=self.kept['question'],
        )

    def _fullest(self) -> tuple[int, int] | None:
        """The most images, and the longest length there, of which each arm with runs has one."""
        for part in reversed(self.plan.parts):
            for n in reversed(self.plan.lengths):
                names = [self.plan.name(arm, part, n) for arm in self.present]
                if names and all(name in self.results for name in names):
                    return part, n
        return None

    def _basis(self, done: int) -> list[tuple[str, str]]:
        """What the verdict rests on: values and terms."""
        plan, every = self.plan, self.found['runs']
        lengths = sorted({n * plan.one for *_, n, _ in self.groups})
        facts = [
            (f'{done}', 'training runs'),
            (f'{max((len(of) for *_, of in self.groups), default=0)}', 'seeds'),
            (', '.join(f'{n:,}' for n in self.parts) or 'none', f'images, of {plan.images:,}'),
            (', '.join(f'{n:,}' for n in lengths) or 'none', 'iterations'),
            (Path(self.kept['question']['config']).stem, 'detector'),
        ]
        areas = [r['pixels_seen'] / r['images_seen'] for r in every if r.get('pixels_seen')]
        seen = [r['images_seen'] / r['iterations'] for r in every if r.get('images_seen')]
        if seen and lengths:
            epochs = lengths[-1] * median(seen) / plan.images
            facts.append((f'{epochs:.1f}', f'epochs of {plan.images:,} images, at most'))
        if areas:
            side = mean(areas) ** 0.5
            facts.append((f'{side:.0f} × {side:.0f} px', 'mean area of an image'))
        return facts

    def _gap(self, comparison: dict[str, Any]) -> list[Any]:
        """A row: the arm's number, gaps at three numbers of images, what the first arm needs.

        The last is from how many images on the first arm is as good with as many.
        """
        plan = self.plan
        amounts = [plan.images * times for times in (1, 2, answer.FURTHEST_IMAGES)]
        gaps = [comparison['gap'][str(n)] for n in amounts]
        images = plan.parts[0], amounts[-1]
        never = comparison['crossing']['middle'] == plan.parts[0]
        return [
            self.arms.index(comparison['arm']),
            *((f'{g["middle"]:+.1f}', f'{g["low"]:+.1f} to {g["high"]:+.1f}') for g in gaps),
            # a share of some hundred samples
            f'{min(max(100 * comparison["sure"], 1), 99):.0f} %',
            _needed(comparison['iterations'], *answer.ITERATIONS, 1, '×'),
            _needed(comparison['images'], *images, 0),
            ('no lead', '') if never else _needed(comparison['crossing'], *images, 0),
        ]

    def _figures(self) -> dict[str, Markup]:
        """Those that can be drawn of the runs so far, by what AP is drawn against."""
        plan, found, drawn = self.plan, self.found, {}
        if found['by_images']:
            length = self._longest_fitted()
            points = [
                [
                    (o['images'], o['ap'])
                    for o in found['observations']
                    if (o['arm'], o['iterations']) == (arm, length)
                ]
                for arm in self.arms
            ]
            bands = [found['by_images'][str(length)].get(arm, []) for arm in self.arms]
            drawn['training images'] = figures.draw_curves(
                bands, points, 'training images', plan.images
            )
        if found['by_iterations']:
            points = [
                [
                    (n * plan.one, answer.ap_of(run))
                    for name, part, n, of_seeds in self.groups
                    for run in of_seeds
                    if (name, part) == (arm, found['by_iterations_on'])
                ]
                for arm in self.arms
            ]
            bands = [found['by_iterations'].get(arm, []) for arm in self.arms]
            drawn['iterations'] = figures.draw_curves(bands, points, 'iterations')
        longest = max((r.get('train_seconds', 0) for r in found['runs']), default=0)
        seconds, time = (3600, 'hours') if longest > 5400 else (60, 'minutes')
        for key, unit, label in (
            ('train_seconds', seconds, f'{time} of training'),
            ('images_seen', 1, 'images seen'),
        ):
            lines = [
                (i, part == self.parts[-1], lengths)
                for i, arm in enumerate(self.arms)
                for part in self.parts
                if (lengths := self._lengths(arm, part, key, unit))
            ]
            if lines:
                drawn[label] = figures.draw_lengths(lines, label)
        return {
            label: html_page.svg(figure, f'figure{i}', f'AP against {label}, by initialization')
            for i, (label, figure) in enumerate(drawn.items())
        }

    def _longest_fitted(self) -> int:
        """The most iterations of which there are curves; 0 if there are none."""
        return max(map(int, self.found['by_images']), default=0)

    def _lengths(self, arm: str, images: int, key: str, unit: float) -> list[list[figures.Point]]:
        """The runs of each length: an amount and an AP."""
        lengths = [
            [(run[key] / unit, answer.ap_of(run)) for run in of_seeds if key in run]
            for name, part, _, of_seeds in self.groups
            if (name, part) == (arm, images)
        ]
        return list(filter(None, lengths))

    def _breakdown(self, part: int, n: int) -> dict[str, list[Any]]:
        """AP by size and by class: a row has a name, and mean and ends of the seeds of each arm."""
        lasts = [
            [run['history'][-1] for run in self.results.get(self.plan.name(arm, part, n), [])]
            for arm in self.arms
        ]
        classes = [key for key in next(filter(None, lasts))[0] if key.startswith(CLASS)]
        names = SIZES | {key: key.removeprefix(CLASS) for key in classes}

        def row(key: str) -> list[Any]:
            # COCO says -1 where there is nothing to find
            values = [[100 * last[key] for last in of if last.get(key, -1) >= 0] for of in lasts]
            return [names[key], *(v and (mean(v), min(v), max(v)) for v in values)]

        tables = {'size': [row(key) for key in SIZES], 'class': [row(key) for key in classes]}
        return {title: rows for title, rows in tables.items() if any(any(r[1:]) for r in rows)}

    def _counts(self) -> list[list[str]]:
        """Rows of a name and the counts of both splits."""
        reports = self.found['data']
        rows = {
            'images': [report['images'] for report in reports],
            'objects': [sum(report['objects'].values()) for report in reports],
            'objects with masks': [report['masks'] for report in reports],
        }
        for size in ('small', 'medium', 'large'):
            rows[f'{size} objects'] = [report['sizes'].get(size, 0) for report in reports]
        return [[name, *(f'{n:,}' for n in counts)] for name, counts in rows.items()]

    def _classes(self) -> list[list[str]]:
        """Rows of a class and its objects in both splits."""
        train, *others = (report['objects'] for report in self.found['data'])
        return [
            [name, f'{n:,}', *(f'{other.get(name, 0):,}' for other in others)]
            for name, n in train.items()
        ]

    def _checkpoints(self, arms: list[str]) -> dict[str, Path]:
        """Of the longest run of each arm's first seed on the most images, if there are all."""
        names = {
            arm: self.plan.name(arm, self.plan.parts[-1], self.plan.lengths[-1]) for arm in arms
        }
        if not all(name in self.results for name in names.values()):
            return {}
        runs = {arm: self.results[name][0] for arm, name in names.items()}
        training = self.folder / decision.TRAINING
        return {
            arm: training
            / folder_name(run['name'], run['seed'], run['key'])
            / f'iter_{run["iterations"]}.pth'
            for arm, run in runs.items()
        }

    def _cost(self, arm: str) -> list[str]:
        """A row: seconds of an iteration, of start and validation, hours in all."""
        pattern = rf'(\d+_)?{re.escape(arm)}_(\d+x|pretraining)'
        runs = [run for run in self.found['runs'] if re.fullmatch(pattern, run['name'])]
        runs = [run for run in runs if 'train_seconds' in run]
        if not runs:
            return [f'{self.kept["cost"]["step"][arm]:.2f}', '', '']
        own = [own_seconds(run) for run in runs]
        step = median(run['train_seconds'] / run['iterations'] for run in runs)
        rest = median(run['process_seconds'] - seconds for run, seconds in zip(runs, own))
        return [f'{step:.2f}', f'{max(rest, 0):.0f}', f'{sum(own) / 3600:.2f}']

    def _commands(self) -> list[tuple[int, list[tuple[str, float | None]]]]:
        """Of the arms that may be the best: the number, commands, and the AP to expect."""
        iterations = self.plan.lengths[-1] * self.plan.one
        return [
            (i, [self._command(arm, n) for n in (iterations, 2 * iterations)])
            for i, arm in enumerate(self.plan.arms)
            if arm.name in self.found['best']
        ]

    def _command(self, arm: Arm, iterations: int) -> tuple[str, float | None]:
        folders = self.found['folders']
        length = ['--iterations', str(iterations)]
        command = ['python', 'tools/train.py', arm.config, '--data', folders['data']]
        # each has a work directory of its own: they may run one after the other
        work = f'work_dirs/{self.folder.resolve().name}_{arm.name}_{iterations}i'
        command += ['--work-dir', work, *self.plan.arguments(arm)]
        before = ''
        if arm.name == OWN:
            pretrain = ['python', 'tools/pretrain.py', arm.config, '--images', folders['images']]
            before = shlex.join([*pretrain, '--work-dir', f'{work}_pretraining', *length])
            command += ['--init', f'{work}_pretraining/backbone.pth']
        bands = self.found['by_iterations'].get(arm.name, [])
        near = min(bands, key=lambda row: abs(math.log(row[0] / iterations)), default=None)
        command += [*length, '--cfg-options', *self.plan.recipe(arm, iterations)]
        lines = ' &&\n'.join(filter(None, [before, shlex.join(command)]))
        return lines, near and near[2]

    def _row(self, arm: str, part: int, n: int, run: dict[str, Any]) -> list[Any]:
        return [
            self.arms.index(arm),
            f'{part:,}',
            run['seed'],
            f'{n * self.plan.one:,}',
            f'{answer.ap_of(run):.1f}',
            f'{run.get("train_seconds", 0) / 3600:.2f}',
            run.get('key', '')[:12],
            run.get('hardware', ''),
            (run.get('git_commit') or '')[:10],
        ]


def _divided(verdict: str) -> tuple[str, str]:
    """The sentence that says who is ahead, and the rest."""
    first, _, rest = verdict.partition('. ')
    return first.removesuffix('.') + '.', rest


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return (
        f'{minutes} minute{"s" * (minutes > 1)}' if minutes < 120 else f'{minutes / 60:.1f} hours'
    )


def _needed(
    interval: dict[str, Any], least: float, most: float, digits: int, unit: str = ''
) -> tuple[str, str]:
    """An amount and its interval in words, where it was looked for from ``least`` to ``most``.

    None is more than ``most``; what is reached at ``least`` may be reached with less.
    """

    def words(amount: float | None) -> str:
        if amount is None:
            return f'over {most:,}{unit}'
        return f'{"at most " * (amount <= least)}{amount:,.{digits}f}{unit}'

    low, middle, high = (words(interval[end]) for end in ('low', 'middle', 'high'))
    return middle, '' if low == high else f'{low} to {high}'
