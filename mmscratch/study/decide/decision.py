"""One question about one data set: its folder, its plan, its runs, its answer."""

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from mmengine.config import Config

from mmscratch.config.image_scale import scale_images
from mmscratch.config.scalars import read_scalars
from mmscratch.data import layouts
from mmscratch.data.data_report import DataReport
from mmscratch.errors import InputError
from mmscratch.process import whole_file
from mmscratch.study.decide import answer
from mmscratch.study.decide import plan as planning
from mmscratch.study.decide.arm import OWN, Arm
from mmscratch.study.decide.plan import Cost, Plan
from mmscratch.study.executor import Ends, Executor
from mmscratch.study.launchers import Launcher
from mmscratch.study.pretraining_run import PretrainingRun
from mmscratch.study.run import Data, Run, in_order, results_of
from mmscratch.study.seed_statistics import Results

PLAN, RUNS, TRAINING, ANSWER = 'plan.json', 'runs', 'training', 'decide.json'
# between two updates of the answer, and of the time spent, while runs are trained
UPDATE_SECONDS = 60


@dataclass
class Decision:
    """A folder in which a question is answered; it goes on where it was.

    Args:
        folder: has ``plan.json``, ``runs/`` with the result of each run, ``training/`` with their
            work directories, ``decide.json``.
        config: of configs/scratch/.
        arms: that are compared.
        root: the folder of the data.
        launcher: of the runs.
        upto: images of the largest part; None for all.
        scale: as of ``--scale``.
    """

    folder: Path
    config: Path
    arms: list[Arm]
    root: Path
    launcher: Launcher
    upto: int | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        # up to when the time of this call is counted as spent
        self.counted = self.began = time.monotonic()
        cfg = planning.check_config(self.config)
        self.iterations = cfg.train_cfg.max_iters
        if self.scale is not None:
            scale_images(cfg, self.scale)
        self.reports = self._check_data()
        digests = '\0'.join(
            digest
            for report in self.reports
            for digest in (report.sha256, report.xml_sha256, report.images_sha256)
        )
        # the loader leaves out images without objects
        self.images = len(self.reports[0].crowding)
        if self.upto is not None:
            self._check_upto(self.upto)
        objects = sum(self.reports[0].instances.values())
        self.objects_an_image = objects / max(1, self.images)
        self.data = Data(self.root.name, digests, self.root)
        self.executor = Executor(self.folder / RUNS, self.folder / TRAINING, self.launcher)

    def _check_upto(self, upto: int) -> None:
        planning.parts_of(self.images, 2)
        if not 2 * planning.FEWEST_IMAGES <= upto <= self.images:
            raise InputError(
                f'--images {upto}: give {2 * planning.FEWEST_IMAGES} to {self.images}, the '
                f'images with objects of {self.reports[0].annotation_file}'
            )

    def _check_data(self) -> list[DataReport]:
        cfg = Config.fromfile(self.config)
        layouts.use_folder(cfg, self.root)
        reports = layouts.check(cfg, decode=True)
        if any(arm.name == OWN for arm in self.arms) and not layouts.are_apart(self.root):
            reports[-1].notes.append(
                f'WARNING: validation images are in {layouts.images_of(self.root)}, too, on which '
                f'{OWN} pre-trains without labels: its AP may be flattered; in COCO layout they '
                'can have a folder of their own'
            )
        return reports

    @property
    def question(self) -> dict[str, Any]:
        """What may not change when the folder is gone on with."""
        return dict(
            config=str(self.config),
            arms=[asdict(arm) for arm in self.arms],
            data=self.data.recipe,
            upto=self.upto,
            scale=self.scale,
        )

    def plan(self, seconds: float) -> Plan:
        """The plan of the folder, or a new one that fits into the budget.

        Raises:
            InputError: the folder has the plan of another question, or the budget is too small.
        """
        file = self.folder / PLAN
        self.folder.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            try:
                kept = json.loads(file.read_text())
            except ValueError as error:
                raise InputError(
                    f'{file}: cannot be read ({error}); remove it for a new plan, or name another '
                    'folder with --out'
                ) from None
            asked = json.loads(json.dumps(self.question))
            if other := [key for key in asked if kept['question'][key] != asked[key]]:
                names = ['images' if key == 'upto' else key for key in other]
                raise InputError(
                    f'{file}: this folder answers a question with another {", ".join(names)}; '
                    'name another folder with --out'
                )
            cost = Cost(**kept['cost'])
            plan = Plan.of_file(kept, self.arms, self.data)
            spent, failed = kept['spent'], kept['failed']
            if seconds > kept['budget']:
                plan = self._with_more_seeds(plan, cost, spent, seconds)
        else:
            cost, failed = self._probe(seconds), {}
            spent, self.counted = cost.probing, time.monotonic()
            plan = planning.lay_out(
                self.arms,
                self.data,
                self.images,
                self.upto or self.images,
                self.iterations,
                cost,
                seconds,
                self.launcher.jobs,
                self.scale,
            )
        course = dict(cost=asdict(cost), jobs=self.launcher.jobs)
        course |= dict(budget=seconds, spent=spent, failed=failed)
        _write(file, dict(question=self.question, **plan.layout, **course))
        return plan

    def _with_more_seeds(self, plan: Plan, cost: Cost, spent: float, seconds: float) -> Plan:
        """The plan with as many seeds as a larger budget has time for, by what was spent so far."""
        # those that failed are trained again
        ended = self._with_results(plan)
        left = planning.seconds_left(plan, cost, self.launcher.jobs, ended, spent)
        each = (spent + left) / plan.seeds
        fitting = min(int(seconds * planning.PLANNED / each), planning.MOST_SEEDS)
        more = max(0, fitting - plan.seeds)
        return replace(plan, seeds=plan.seeds + more, added=plan.added + more)

    def _probe(self, seconds: float) -> Cost:
        parts = planning.parts_of(self.upto or self.images, 2)
        sketch = Plan(tuple(self.arms), self.data, self.images, parts, (1,), 100, 1, self.scale)
        runs = planning.probes(sketch, self.launcher.jobs)
        # what is left of an interrupted probe has no times of its own
        self._forget(runs)
        # the data were checked before
        if failed := self.executor.execute(runs, self.began + seconds - time.monotonic()):
            label, why = next(iter(failed.items()))
            raise InputError(f'{label}: {why}')
        if not all(run.result(self.executor.results) for run in runs):
            self._forget(runs)
            raise InputError(
                f'--budget: {planning.PROBE_ITERATIONS} iterations and a validation of each '
                'initialization take longer; give more, fewer validation images, or smaller images '
                'with --scale'
            )
        step: dict[str, list[float]] = defaultdict(list)
        pretraining, rest = 0.0, []
        for run in runs:
            result = run.result(self.executor.results)
            assert result
            times = [r['time'] for r in read_scalars(self.executor.folder(run)) if 'loss' in r]
            if isinstance(run, PretrainingRun):
                pretraining = median(times[2:])
            else:
                step[run.name.removeprefix('probe_')].append(median(times[2:]))
                rest.append(result['process_seconds'] - sum(times))
        # probed anew if no plan fits
        self._forget(runs)
        steps = {name: mean(values) for name, values in step.items()}
        probing = round(time.monotonic() - self.began, 1)
        return Cost(steps, mean(rest), pretraining, probing)

    def _forget(self, runs: Sequence[Run]) -> None:
        """Remove the results and the folders of probes."""
        for run in runs:
            (self.executor.results / f'{run.label}.json').unlink(missing_ok=True)
            shutil.rmtree(self.executor.folder(run), ignore_errors=True)

    def results(self, plan: Plan) -> Results:
        """The results so far, by the names of the runs."""
        return results_of(plan.runs, self.executor.results)

    @property
    def spent(self) -> float:
        """Seconds of the budget that are gone, of all calls so far."""
        return self._kept()['spent']

    @property
    def failed(self) -> dict[str, str]:
        """Label -> fault of each run that failed and has had no result since."""
        failed = self._kept()['failed'].items()
        return {k: why for k, why in failed if not (self.executor.results / f'{k}.json').exists()}

    def _kept(self) -> dict[str, Any]:
        return json.loads((self.folder / PLAN).read_text())

    def _keep(self, ends: Ends = ()) -> None:
        """Keep the seconds that were not yet counted as spent, and the faults of runs."""
        now, kept = time.monotonic(), self._kept()
        failed = kept['failed'] | {run.label: fault for run, fault in ends}
        kept |= dict(
            # not rounded: many short runs add up
            spent=kept['spent'] + now - self.counted,
            failed={label: fault for label, fault in failed.items() if fault},
        )
        _write(self.folder / PLAN, kept)
        self.counted = now

    def train(
        self, plan: Plan, seconds: float, update: Callable[[], object] = lambda: None
    ) -> None:
        """Train what is missing, within the rest of the budget. Runs that failed are tried again.

        Args:
            plan: of the runs.
            seconds: the budget, with what was spent before.
            update: is called now and then when a run has ended. Runs go on if it fails.
        """
        left = max(0.0, seconds - self.spent)
        updated = time.monotonic()
        if not self._missing(plan):
            # a look at the answer costs nothing
            self.counted = updated

        def watch(ends: Ends) -> None:
            nonlocal updated
            # a process that is killed forgets what it spent since
            if ends or time.monotonic() - self.counted > UPDATE_SECONDS:
                self._keep(ends)
            if not ends:
                return
            self.executor.tidy(plan.runs, [r for r in plan.runs if self._is_shown(plan, r)])
            # an update takes some seconds
            if time.monotonic() - updated > UPDATE_SECONDS:
                try:
                    update()
                except Exception as error:  # hours of training are worth more than a page
                    print(f'the answer so far could not be written ({error}); training goes on')
                updated = time.monotonic()

        try:
            self.executor.execute(plan.runs, left, watch)
        finally:
            self._keep()

    def _is_shown(self, plan: Plan, run: Run) -> bool:
        """Whether the page shows detections of its checkpoint: of the first seed on most images."""
        shown = {plan.name(arm.name, plan.parts[-1], plan.lengths[-1]) for arm in plan.arms}
        return run.seed == 0 and run.name in shown

    def answer(self, plan: Plan) -> dict[str, Any]:
        """Write ``decide.json`` from the results so far, and return its content."""
        results, failed = self.results(plan), self.failed
        lost = sum(run.label in failed for run in plan.runs)
        content = dict(
            question=self.question,
            folders=dict(data=str(self.root), images=str(layouts.images_of(self.root))),
            plan=planning.describe(plan),
            **plan.layout,
            data=[_facts(report) for report in self.reports],
            failed=failed,
            needs_budget=self._needed(plan),
            **answer.content(plan, results, self.spent / 3600, lost, self._kept()['budget'] / 3600),
            runs=[result for of_seeds in results.values() for result in of_seeds],
        )
        _write(self.folder / ANSWER, content)
        return content

    def _ended(self, plan: Plan) -> set[str]:
        """Labels of the runs that have a result or failed."""
        return self._with_results(plan) | set(self.failed)

    def _with_results(self, plan: Plan) -> set[str]:
        """Labels of the runs that have a result."""
        return {r.label for r in in_order(plan.runs) if r.result(self.executor.results)}

    def _missing(self, plan: Plan) -> bool:
        """Whether a run of the plan has neither a result nor failed."""
        return not self._ended(plan).issuperset(run.label for run in plan.runs)

    def _needed(self, plan: Plan) -> str:
        """The budget for the rest of the plan, if what was given is spent before; '' if not."""
        kept = self._kept()
        if not self._missing(plan) or kept['spent'] < kept['budget'] - 1:
            return ''
        cost, spent = Cost(**kept['cost']), kept['spent']
        left = planning.seconds_left(plan, cost, kept['jobs'], self._ended(plan), spent)
        return planning.as_budget(spent + left / planning.PLANNED)


def _write(file: Path, content: dict[str, Any]) -> None:
    """Write JSON; a process that is killed leaves the file of before."""
    whole_file.write(file, json.dumps(content, indent=1) + '\n')


def _facts(report: DataReport) -> dict[str, Any]:
    """What the answer keeps of the check of a split."""
    return dict(
        file=str(report.annotation_file),
        sha256=report.sha256,
        images=report.images,
        objects=report.instances,
        sizes=report.sizes,
        masks=report.masks,
        left_out=report.left_out,
        notes=report.notes,
    )
