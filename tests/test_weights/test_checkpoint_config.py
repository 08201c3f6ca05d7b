"""The config inside a checkpoint: what MMEngine dumps is read, all else refused and not run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

import mmscratch.register_all  # noqa: F401
from mmscratch.errors import InputError
from mmscratch.evaluation.inferencer import Inferencer
from mmscratch.weights import checkpoint, checkpoint_config
from mmscratch.weights.checkpoint_config import config_of, read, refuse_foreign_types
from mmscratch.weights.publish import publish

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [
    'scratch/mask_rcnn_r18_gn_600i_shapes',
    'scratch/cascade_mask_rcnn_r18_gn_600i_shapes',
    'scratch/keypoint_rcnn_r18_gn_600i_shapes',
    'scratch/faster_rcnn_vgg16_nonorm_11x_ms',
    'dsod/dsod300_full_bn_100k_voc07p12',
    'scratch/mask_rcnn_r50_syncbn_400e_lsj_cp',
]
SMALL = Config.fromfile(ROOT / f'configs/{CONFIGS[0]}.py')


@pytest.mark.parametrize('name', CONFIGS)
def test_what_mmengine_dumps_is_read(name):
    text = Config.fromfile(ROOT / f'configs/{name}.py').pretty_text
    cfg = read(text, 'a.pth')
    assert cfg.to_dict() == Config.fromstring(text, '.py').to_dict()
    refuse_foreign_types(cfg, 'a.pth', buildable=True)


def test_all_kinds_of_literals_are_read():
    cfg = read(
        "a = dict({'x y': -1.5}, b=(1, None), c={2})\nd = [inf, -inf, True]\ne = '''t'''", ''
    )
    assert cfg.to_dict() == {
        'a': {'x y': -1.5, 'b': (1, None), 'c': {2}},
        'd': [float('inf'), float('-inf'), True],
        'e': 't',
    }


@pytest.mark.parametrize(
    'text',
    [
        '__import__("os").system("touch {}")\nmodel = dict()',
        'model = dict(a=__import__("os").system("touch {}"))',
        'model = [__import__("os").system("touch {}") for _ in [1]]',
        "model = f\"{{__import__('os').system('touch {}')}}\"",
        'import os\nos.system("touch {}")',
        'def model(): pass',
        'model = dict(**{{"a": open("{}", "w")}})',
        'model.a = 1',
        'a, b = 1, 2',
        'a = b = 1',
        'model = (lambda: open("{}", "w"))()',
        'class model: open("{}", "w")',
        'a = "x" * 10 ** 10',
        'a = 1\n' + '[' * 5000,
        'a = ' + '-' * 100_000 + '1',
        'filename = 1',
        'a = {{[]: 1}}',
        'a = b"\\0"\0',
        'a = -"x"',
        'if True:\n    a = 1',
    ],
)
def test_what_is_more_than_data_is_neither_read_nor_run(tmp_path, text):
    ran = tmp_path / 'ran'
    with pytest.raises(InputError, match=r'a\.pth: its config is not plain data') as error:
        read(text.format(ran), 'a.pth')
    assert '\n' not in str(error.value)
    assert not ran.exists()


@pytest.mark.parametrize('text', [b'a = 1', 5, ['a'], {'a': 1}])
def test_a_config_that_is_no_text_is_refused(text):
    with pytest.raises(InputError, match='not text'):
        config_of(dict(meta=dict(cfg=text)), 'a.pth')


@pytest.mark.parametrize(
    'loaded', [{}, dict(meta=None), dict(meta=[]), dict(message_hub=5), dict(meta=dict(cfg=''))]
)
def test_a_file_without_config_is_told(loaded):
    with pytest.raises(InputError, match='holds weights, but not the config'):
        config_of(loaded, 'a.pth')


def test_the_config_is_found_where_mmengine_and_releases_put_it():
    hub = dict(runtime_info=dict(cfg='a = 1'))
    assert config_of(dict(message_hub=hub, meta={}), '').a == 1
    assert config_of(dict(meta=dict(cfg='a = 2')), '').a == 2


FOREIGN = [
    'os.system',
    'subprocess.Popen',
    'mmengine.fileio.remove',
    'mmengine.mkdir_or_exist',
    'torch.hub.load',
    'torch.load',
    'mmscratch.errors.one_line_errors',
    'os.ResNet',
    'mmpretrain.ResNet',
    '__import__("os").system("x")',
    '[exit() for _ in [1]]',
    'nms or exit()',
    '',
    '.ResNet',
    "torch.os.mkdir('x') or torch.nms",
    'torch.os.nms',
    'mmcv.ops.x.nms',
    None,
    ['ResNet'],
    5,
]


@pytest.mark.parametrize('kind', FOREIGN)
@pytest.mark.parametrize('buildable', [True, False])
def test_types_from_elsewhere_are_refused(kind, buildable):
    cfg = Config(dict(model=dict(test_cfg=dict(rcnn=[dict(nms=dict(type=kind))]))))
    with pytest.raises(InputError, match=r'a\.pth: its config has the type '):
        refuse_foreign_types(cfg, 'a.pth', buildable)


@pytest.mark.parametrize('scope', ['os', 'mmpretrain', '', None, 5])
def test_scopes_from_elsewhere_are_refused(scope):
    with pytest.raises(InputError, match='has the scope'):
        refuse_foreign_types(dict(model=dict(type='ResNet', _scope_=scope)), 'a.pth')


def test_a_class_that_is_not_known_may_stand_where_nothing_is_built():
    cfg = dict(model=dict(type='MyResNet'))
    refuse_foreign_types(cfg, 'a.pth')
    with pytest.raises(InputError, match="'MyResNet', which is not registered"):
        refuse_foreign_types(cfg, 'a.pth', buildable=True)


def test_dotted_paths_of_registered_classes_are_taken():
    """As MMEngine dumps configs that import their classes."""
    kinds = ['mmdet.models.backbones.ResNet', 'mmdet.ResNet', 'torch.optim.sgd.SGD', 'mmcv.ops.nms']
    for kind in kinds:
        refuse_foreign_types(dict(a=dict(type=kind)), 'a.pth', buildable=True)


# --- the tools


@pytest.fixture(scope='module')
def state() -> dict:
    return MODELS.build(SMALL.model).state_dict()


@pytest.fixture
def save(state, tmp_path):
    """Write a checkpoint with a config of this text, and what else is given."""

    def write(text: str, **meta) -> Path:
        file = tmp_path / 'iter_4.pth'
        meta = dict(cfg=text, dataset_meta=dict(classes=('a', 'b', 'c')), iter=4, **meta)
        torch.save(dict(meta=meta, state_dict=state), file)
        return file

    return write


def infer(file: Path, folder: Path) -> None:
    image = folder / 'one.png'
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(image)
    inferencer = Inferencer(weights=str(file), device='cpu', show_progress=False)
    inferencer(str(image), out_dir=str(folder / 'out'), no_save_pred=False)


def changed(**options) -> str:
    cfg = SMALL.copy()
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return cfg.pretty_text


def program(ran: Path) -> str:
    """A config file that leaves a trace where it is executed."""
    file = ran.with_name('evil.py')
    file.write_text(f'__import__("os").mkdir({str(ran)!r})')
    return str(file)


HOSTILE = {
    'a program': lambda ran: f'__import__("os").system("touch {ran}")\n' + SMALL.pretty_text,
    'a model': lambda ran: changed(model=dict(_delete_=True, type='os.mkdir', path=str(ran))),
    'an evaluated name': lambda ran: changed(
        model__test_cfg__rcnn__nms__type=f'open({str(ran)!r}, "w") or nms'
    ),
    'a transform': lambda ran: changed(
        test_dataloader__dataset__pipeline=[dict(type='os.mkdir', path=str(ran))]
    ),
    'an expression that ends in a registered name': lambda ran: changed(
        model__test_cfg__rcnn__nms__type=f'torch.os.mkdir({str(ran)!r}) or torch.nms'
    ),
    'a text that MMDetection evaluates': lambda ran: changed(
        model__roi_head__bbox_head__bbox_coder=dict(
            _delete_=True,
            type='CameraMotionCompensation',
            warp_mode=f'__import__("os").mkdir({str(ran)!r})',
        )
    ),
    'a type under another key': lambda ran: changed(
        test_dataloader__dataset__pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResize', scale=(9, 9), resize_type='os.mkdir', path=str(ran)),
        ]
    ),
    'the config file of a teacher': lambda ran: changed(model__teacher_config=program(ran)),
    'a data set': lambda ran: changed(
        test_dataloader__dataset=dict(
            _delete_=True, type='os.mkdir', path=str(ran), pipeline=SMALL.test_pipeline
        )
    ),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_inference_runs_nothing_of_a_stranger(save, tmp_path, kind):
    ran = tmp_path / 'ran'
    with pytest.raises(InputError):
        infer(save(HOSTILE[kind](ran)), tmp_path)
    assert not ran.exists()


def test_what_inference_does_not_build_is_left_alone(save, tmp_path):
    """Imports, collation and backends of pictures, which may come from anywhere."""
    ran = tmp_path / 'ran'
    text = changed(
        custom_imports=dict(imports=['antigravity', 'not_there'], allow_failed_imports=False),
        visualizer=dict(
            _delete_=True,
            type='DetLocalVisualizer',
            save_dir=str(ran),
            vis_backends=[dict(type='LocalVisBackend')],
        ),
    )
    text = text.replace('default_scope', "test_collate = dict(type='os.mkdir')\ndefault_scope", 1)
    infer(save(text), tmp_path)
    assert json.loads((tmp_path / 'out/preds/one.json').read_text()).keys() >= {'names', 'bboxes'}
    assert not ran.exists()


@pytest.mark.parametrize('kind', HOSTILE)
def test_a_release_holds_nothing_of_a_stranger(save, tmp_path, kind):
    ran = tmp_path / 'ran'
    with pytest.raises(InputError):
        publish(save(HOSTILE[kind](ran)), tmp_path / 'release', 'shapes', allow_unfinished=True)
    assert not ran.exists()
    assert not list(tmp_path.glob('release/*'))


@pytest.mark.parametrize('name', ['../../out', '/tmp/out', 'a/b', '', 'a\nb', '..\\a', ('a',)])
def test_a_release_stays_in_its_folder(save, tmp_path, name):
    file = save(SMALL.pretty_text, experiment_name=name)
    with pytest.raises(InputError, match=r'no name for a file|experiment_name is not'):
        publish(file, tmp_path / 'release', 'shapes', allow_unfinished=True)
    assert list(tmp_path.iterdir()) == [file]


def test_what_resuming_would_execute_is_not_loaded(tmp_path):
    """MMEngine's Runner.resume executes meta['config']."""
    file = tmp_path / 'a.pth'
    torch.save(dict(meta=dict(config='gpu_ids = 1 / 0', iter=3), state_dict={}), file)
    assert checkpoint.load(file)['meta'] == dict(iter=3)


def test_the_check_of_types_sees_every_dict():
    """Also within tuples, and within Albu, whose types are albumentations' own."""
    nested = dict(a=(dict(type='Albu', transforms=[dict(type='os.system')]),))
    with pytest.raises(InputError, match=r"'os\.system', which is not registered"):
        checkpoint_config.refuse_foreign_types(nested, 'a.pth')


def test_registries_import_nothing_for_a_stranger(tmp_path):
    """Whatever key a dotted name stands under."""
    ran = tmp_path / 'ran'
    with checkpoint_config.no_imports():
        assert MODELS.get('mmdet.models.backbones.ResNet') is MODELS.get('ResNet')
        with pytest.raises(KeyError, match=r'os\.mkdir'):
            MODELS.build(dict(type='os.mkdir', path=str(ran)))
    assert not ran.exists()


def test_a_key_cannot_end_as_a_program_in_a_release(save, tmp_path):
    """MMEngine writes keys between quotes, without escaping those within."""
    key = """x': __import__('os').system('true'), 'y"""
    file = save(f'{SMALL.pretty_text}\nextra = dict({{{key!r}: 1}})\n')
    with pytest.raises(InputError, match='do not use this file'):
        publish(file, tmp_path / 'release', 'shapes', allow_unfinished=True)
    assert not list(tmp_path.glob('release/*'))


@pytest.mark.parametrize('model', ['[]', '5', 'None', '"x"', 'dict()', '[dict(type="ResNet")]'])
def test_a_model_that_is_none_is_told(save, tmp_path, model):
    with pytest.raises(InputError, match='its config lacks model'):
        infer(save(f'{SMALL.pretty_text}\nmodel = {model}\n'), tmp_path)
