"""Preflight, record and result of a pre-training: backbone.pth."""

import io
from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmengine.dist import is_main_process, master_only
from mmengine.runner import Runner

from mmscratch.config import work_dir
from mmscratch.data.annotation_file import AnnotationFile
from mmscratch.data.samplers.subset import sha256_of_ids
from mmscratch.hooks.preflight_hook import PreflightHook, frozen_faults, norm_faults
from mmscratch.loops.runner_state import bare_model, batch_of, images_per_step, loaded_file
from mmscratch.visualization import draw_curves

RESULT = 'backbone.pth'


@HOOKS.register_module()
class PretrainingHook(PreflightHook):
    """``PreflightHook`` for a pre-training, which writes the backbone's weights at its end.

    No parameter of the backbone may be frozen, and no norm layer in eval mode, after ``--init``
    too. The momentum encoder has no gradients, and nothing is validated. A run is not resumed on
    other images than it began with, nor with views of another size.

    The proof has one more entry, ``pretraining``, in every checkpoint and in ``backbone.pth``:

    - ``method``: densecl or moco
    - ``images``, ``images_sha256``: number of different images, and SHA-256 of their ``img_id``
      (:func:`~mmscratch.data.samplers.subset.sha256_of_ids`)
    - ``view_size``: side of the views in pixels
    - ``iterations``, ``images_seen``: iterations times batch
    - ``pixels_seen``: those of the first views, which pass through the trained encoder forward and
      backward: ``images_seen * view_size**2``. As many of the second views pass through the
      momentum encoder, forward only, and are not counted.

    ``backbone.pth`` contains the backbone's weights as ``backbone.NAME``, which
    ``tools/train.py --init`` takes, and the proof as ``meta.preflight``. ``curves.png`` is drawn
    with each checkpoint.
    """

    def _faults(self, runner: Runner, files: list[AnnotationFile]) -> list[tuple[str, str]]:
        kept = [
            (check, text)
            for check, text in super()._faults(runner, files)
            if check not in ('frozen', 'norm_eval') and not text.startswith('it never validates')
        ]
        model = bare_model(runner)
        kept += [('frozen', fault) for fault in frozen_faults(model.backbone)]
        return kept + [('norm_eval', fault) for fault in norm_faults(model)]

    def _subset_faults(self, runner: Runner) -> list[str]:
        began, now = (self._parent or {}).get('pretraining') or {}, self._pretraining(runner, 0)
        options = {'images_sha256': '--images', 'view_size': '--size'}
        return [
            f'{loaded_file(runner)} began with another {option}: resume with that, or start anew'
            for key, option in options.items()
            if began.get(key) != now[key]
        ]

    def _established(self, runner: Runner, files: list[AnnotationFile], waived: list[str]) -> dict:
        proof = super()._established(runner, [], waived)
        return {**proof, 'pretraining': self._pretraining(runner, runner.iter)}

    def _pretraining(self, runner: Runner, iterations: int) -> dict:
        seen = iterations * images_per_step(batch_of(runner))
        size = runner.train_dataloader.dataset.pipeline.transforms[-1].size
        return dict(
            method='densecl' if bare_model(runner).dense_weight else 'moco',
            **_images(runner),
            view_size=size,
            iterations=iterations,
            images_seen=seen,
            pixels_seen=seen * size**2,
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the proof into the checkpoint, and draw the curves."""
        if self._proof is not None:
            # the runner has not counted the iteration yet
            iterations = checkpoint['meta'].get('iter', runner.iter)
            self._proof = {**self._proof, 'pretraining': self._pretraining(runner, iterations)}
        super().before_save_checkpoint(runner, checkpoint)
        self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        """Write ``backbone.pth``."""
        if not is_main_process():
            return
        self._draw(runner)
        proof = {**(self._proof or {}), 'pretraining': self._pretraining(runner, runner.iter)}
        state = bare_model(runner).backbone.state_dict()
        content = dict(
            meta=dict(preflight=proof),
            state_dict={f'backbone.{name}': value.cpu() for name, value in state.items()},
        )
        file = Path(runner.work_dir) / RESULT
        written = io.BytesIO()
        torch.save(content, written)
        work_dir.write(file, written.getvalue())
        runner.logger.info(f'{file}: give it to tools/train.py with --init; {proof["pretraining"]}')

    @master_only
    def _draw(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        draw_curves(folder, folder / 'curves.png')


def _images(runner: Runner) -> dict:
    """Number and SHA-256 of the images that the sampler draws from."""
    loader = runner.train_dataloader
    ids = [
        loader.dataset.get_data_info(index)['img_id']
        for index in loader.batch_sampler.sampler.subset.indices
    ]
    return dict(images=len(ids), images_sha256=sha256_of_ids(ids))
