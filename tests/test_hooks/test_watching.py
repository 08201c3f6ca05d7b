"""Early stopping, and what TensorBoard, Weights & Biases and MLflow have of a run."""

import struct
from collections import defaultdict

import pytest
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import EarlyStoppingHook

from mmscratch.loops import ResumableIterBasedTrainLoop

Values = dict[str, dict[int, float]]  # by name, by iteration


class Plateau(BaseMetric):
    """AP of 0.1, 0.5 and then 0.501."""

    default_prefix = 'coco'
    ap = (0.1, 0.5, 0.501, 0.501, 0.501, 0.501)

    def __init__(self):
        super().__init__()
        self.number = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.number += 1
        return dict(bbox_mAP=self.ap[self.number - 1])


def tensorboard(folder) -> Values:
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    names = events.Tags()['scalars']
    return {name: {each.step: each.value for each in events.Scalars(name)} for name in names}


def wandb(folder) -> Values:
    # its service writes the end of the file when it ends
    pytest.importorskip('wandb').teardown()
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.rglob('*.wandb')
    values = defaultdict(dict)
    for data in records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof('record_type') == 'history':
            row = {
                item.nested_key[0]: float(item.value_json)
                for item in record.history.item
                if item.nested_key[0][0] != '_'
            }
            for name, value in row.items():
                values[name][row['iter']] = value
    return values


def records(content: bytes):
    """Of the format of LevelDB's logs, in blocks of 32 KiB, after a head of 7 bytes."""
    position, data = 7, b''
    while position < len(content):
        if (left := 2**15 - position % 2**15) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from('<IHB', content, position)
        position += 7 + length
        data += content[position - length : position]
        if kind in (1, 4):  # whole, or the last part
            yield data
            data = b''


def mlflow(folder) -> Values:
    tracking = pytest.importorskip('mlflow.tracking')
    client = tracking.MlflowClient(f'file://{folder}')
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: {each.step: each.value for each in rows} for name, rows in history.items()}


@pytest.mark.parametrize(
    ('read', 'backend'),
    [
        (tensorboard, dict(type='TensorboardVisBackend')),
        (
            wandb,
            dict(
                type='WandbVisBackend',
                init_kwargs=dict(mode='offline'),
                # else a step is a call of the logger
                define_metric_cfg=[dict(name='*', step_metric='iter')],
            ),
        ),
        (mlflow, dict(type='MLflowVisBackend')),
    ],
)
def test_what_was_logged(read, backend, make_runner, tmp_path, monkeypatch):
    pytest.importorskip(read.__name__)
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    folder = tmp_path / 'watched'
    stop = EarlyStoppingHook(monitor='coco/bbox_mAP', min_delta=0.005, patience=2, strict=True)
    runner = make_runner(
        stop,
        train_cfg=dict(type=ResumableIterBasedTrainLoop, max_iters=6, val_interval=1),
        cfg=Config(dict(work_dir=str(tmp_path / 'run'))),
        val_evaluator=Evaluator(Plateau()),
        visualizer=dict(type='Visualizer', vis_backends=[dict(backend, save_dir=str(folder))]),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False)),
    )
    runner.train()
    # two validations without half a point of AP more than the best
    assert runner.iter == 4
    values = read(folder)
    assert values['coco/bbox_mAP'] == pytest.approx({1: 0.1, 2: 0.5, 3: 0.501, 4: 0.501})
    assert list(values['loss']) == [1, 2, 3, 4]
    assert values['lr'] == pytest.approx(dict.fromkeys([1, 2, 3, 4], 0.1))
