"""The page of a decision: what it says, what it survives, how it looks in a browser."""

import functools
import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmscratch.data import layouts
from mmscratch.errors import InputError
from mmscratch.study.decide import answer, examples, learning_curve, page
from mmscratch.study.decide.arm import Arm
from mmscratch.study.decide.plan import Plan
from mmscratch.study.run import Data

CONFIG = 'configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py'
SCRIPT = '<script>alert(1)</script>'
CLASSES = (SCRIPT, 'a $x$ & "b"')
ARMS = (
    Arm('scratch', CONFIG),
    Arm('<b>own', CONFIG, ('--init', 'my weights.pth'), 'my weights.pth', 'f00d'),
)
PLAN = Plan(ARMS, Data('', 'sha'), 64, (16, 64), (1, 2), 100, 2)


def result(arm: int, part: int, n: int, seed: int) -> dict:
    name = PLAN.name(ARMS[arm].name, part, n)
    ap = 0.1 + 0.05 * n + 0.001 * part + 0.2 * arm + 0.01 * seed
    sizes = {f'bbox_mAP_{size}': value for size, value in zip('sml', (ap / 2, ap, -1))}
    return dict(
        name=name,
        key=hashlib.sha256(f'{name} {seed}'.encode()).hexdigest(),
        seed=seed,
        iterations=100 * n,
        begin=0,
        images_seen=800 * n,
        train_seconds=50.0 * n,
        process_seconds=50.0 * n + 9,
        pixels_seen=800 * n * 128**2,
        hardware='2 CPU cores',
        git_commit='c0ffee' if seed else None,  # None: a folder without git
        versions=dict(torch='2.0'),
        history=[
            dict(iteration=100 * n, bbox_mAP=ap, **sizes)
            | {f'bbox_AP/{each}': ap for each in CLASSES}
        ],
    )


def report(name: str) -> dict:
    return dict(
        file=name,
        sha256='ab' * 32,
        images=64,
        objects=dict.fromkeys(CLASSES, 617),
        masks=0,
        sizes=dict(small=1, medium=1199, large=0),
        left_out={'without area': 34},
        notes=['WARNING: 2 images are in both'],
    )


@functools.cache
def content_of(runs: int) -> str:
    """decide.json after the first ``runs`` of the plan."""
    every = [
        result(arm, part, n, seed)
        for part in PLAN.parts
        for seed in range(2)
        for arm in range(2)
        for n in PLAN.lengths
    ][:runs]
    results: dict = {}
    for each in every:
        results.setdefault(each['name'], []).append(each)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_curve, 'fit', functools.partial(learning_curve.fit, draws=20))
        found = answer.content(PLAN, results, 1.0)
    facts = dict(folders=dict(data='my data', images='my data/train'))
    facts |= dict(
        needs_budget='', failed={}, data=[report('train.json'), report('val.json')], runs=every
    )
    return json.dumps(facts | found)


@pytest.fixture
def decided(tmp_path):
    """Writes the files of a decision with the first ``runs`` of its plan."""

    def make(runs: int = 16) -> Path:
        question = dict(config=CONFIG, arms=[asdict(a) for a in ARMS], data='sha', scale=0.5)
        cost = dict(step=dict.fromkeys((a.name for a in ARMS), 0.5), rest=9)
        layout = dict(images=64, parts=PLAN.parts, lengths=PLAN.lengths, one=100, seeds=2, added=0)
        layout |= dict(spent=600.0, jobs=2)
        (tmp_path / 'plan.json').write_text(
            json.dumps(dict(question=question, cost=cost, **layout))
        )
        (tmp_path / 'decide.json').write_text(content_of(runs))
        return tmp_path

    return make


def words(text: str) -> str:
    """What a reader sees, in one line."""
    body = text[text.index('<body>') :]
    return html.unescape(' '.join(re.sub(r'<[^>]*>', ' ', body).split()))


def test_the_verdict_comes_first_and_all_that_it_rests_on_follows(decided):
    folder = decided()
    text = page.write(folder).read_text()
    assert (folder / 'index.html').read_text() == text
    seen, content = words(text), json.loads((folder / 'decide.json').read_text())
    sentence = content['verdict'][0].partition('. ')[0]
    heads = re.findall('<h2>(.*?)</h2>', text)
    assert seen.index(sentence) < seen.index(html.unescape(heads[0]))
    assert heads == [
        'What this rests on',
        'How far ahead of scratch',
        'Learning curves',
        'By size and class',
        'Detections',
        'Data',
        'Costs',
        'Train this detector on all images',
        'Provenance',
    ]
    for value, term in (
        ('16', 'training runs'),
        ('2', 'seeds'),
        ('16, 64', 'images, of 64'),
        ('100, 200', 'iterations'),
        ('faster_rcnn_lite0_bn_1200i_shapes', 'detector'),
        ('128 × 128 px', 'mean area of an image'),
    ):
        assert f'<dt>{term}</dt><dd>{value}</dd>' in text
    gap = content['comparisons'][0]['gap']
    for amount in ('64', '128', '640'):
        low, middle, high = (gap[amount][end] for end in ('low', 'middle', 'high'))
        assert f'{middle:+.1f} {low:+.1f} to {high:+.1f}' in seen
    # means of two seeds; none are large
    assert '46.9 46.4 to 47.4' in seen
    assert 'large, from 96² px none to find none to find' in seen
    assert '1,234' in seen
    assert 'left out: 34 without area' in seen
    assert '● scratch 0.50 9 0.17' in seen
    assert text.count('>c0ffee<') == 8, 'of one seed'
    assert 'http-equiv="refresh"' not in text
    assert 'runs are done' not in seen


def test_the_final_detector_is_trained_from_the_winner(decided):
    folder = decided()
    text = html.unescape(page.write(folder).read_text())
    commands = re.findall('<pre.*?><code>(.*?)</code>', text)
    assert commands == [
        f"python tools/train.py {CONFIG} --data 'my data' --work-dir "
        f"'work_dirs/{folder.name}_<b>own_{n}i' --init 'my weights.pth' --scale 0.5 "
        # 1x has 100 iterations here
        f'--iterations {n} --cfg-options train_cfg.max_iters={n} param_scheduler.0.end=21 '
        f"param_scheduler.1.end={n} 'param_scheduler.1.milestones=[{n - 67},{n - 22}]'"
        for n in (200, 400)
    ]


def test_what_own_images_trained_is_trained_on(decided):
    folder = decided()
    for name in ('plan.json', 'decide.json'):
        file = folder / name
        file.write_text(file.read_text().replace('<b>own', 'own'))
    text = html.unescape(page.write(folder).read_text())
    commands = re.findall('<pre.*?><code>(.*?)</code>', text, re.DOTALL)
    works = [re.findall(r'--work-dir (\S+)', command) for command in commands]
    name = f'work_dirs/{folder.name}_own'
    assert works == [[f'{name}_{n}i_pretraining', f'{name}_{n}i'] for n in (200, 400)]
    for command, (pretraining, _) in zip(commands, works):
        first, second = command.split(' &&\n')
        assert first.startswith(f"python tools/pretrain.py {CONFIG} --images 'my data/train' ")
        assert f'--init {pretraining}/backbone.pth' in second


def test_the_ap_of_voc_is_told(decided):
    folder = decided()
    file = folder / 'decide.json'
    assert 'mAP at IoU 0.5' not in words(page.write(folder).read_text())
    file.write_text(file.read_text().replace('"bbox_mAP"', '"voc_mAP"'))
    assert 'mAP at IoU 0.5' in words(page.write(folder).read_text())


def test_pictures_are_written_whole(tmp_path, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(examples, '_draw', lambda checkpoints: dict(classes=(), images=[]))
    monkeypatch.setattr(Path, 'replace', killed)
    checkpoint = tmp_path / 'iter_1.pth'
    checkpoint.touch()
    with pytest.raises(KeyboardInterrupt):
        examples.of(tmp_path, dict(scratch=checkpoint))
    assert not (tmp_path / examples.FILE).exists()


def test_pictures_that_cannot_be_drawn_say_why(tmp_path, monkeypatch):
    def out_of_memory(checkpoints):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(examples, '_draw', out_of_memory)
    checkpoint = tmp_path / 'iter_1.pth'
    checkpoint.touch()
    missing = examples.of(tmp_path, dict(scratch=checkpoint))['missing']
    assert missing.startswith('CUDA out of memory')


def test_both_are_named_if_neither_wins(decided):
    folder = decided()
    content = json.loads((folder / 'decide.json').read_text())
    content['best'] = [arm.name for arm in ARMS]
    (folder / 'decide.json').write_text(json.dumps(content))
    text = page.write(folder).read_text()
    assert text.count('<pre') == 4
    assert 'None of these initializations is clearly behind another' in text


def test_names_of_users_are_escaped(decided):
    text = page.write(decided()).read_text()
    assert '<script' not in text
    assert '<b>own' not in text
    assert html.escape(SCRIPT) in text
    assert 'a $x$ &amp; &#34;b&#34;' in text


def test_the_same_results_give_the_same_bytes(decided):
    folder = decided()
    first = page.write(folder).read_bytes()
    assert page.write(folder).read_bytes() == first


@pytest.mark.parametrize('runs', [0, 3, 5])
def test_a_page_of_unfinished_runs_says_so_and_loads_itself_again(decided, runs):
    text = page.write(decided(runs), running=True).read_text()
    assert '<meta http-equiv="refresh"' in text
    seen = words(text)
    assert f'{runs} of 16 runs are done.' in seen
    # what was trained on, not what is planned
    measured = '16' if runs else 'none'
    assert f'<dt>images, of 64</dt><dd>{measured}</dd>' in text
    assert ('No verdict yet' in seen) == (runs < 4)
    assert ('Learning curves' in seen) == (runs > 0)


def test_a_page_of_a_study_that_was_stopped_says_how_to_go_on(decided):
    text = page.write(decided(5)).read_text()
    assert 'http-equiv="refresh"' not in text
    assert 'The command that made this page goes on with them, as far as its budget goes.' in words(
        text
    )


def test_a_page_says_that_the_budget_is_spent(decided):
    folder = decided(5)
    content = json.loads((folder / 'decide.json').read_text())
    (folder / 'decide.json').write_text(json.dumps(content | dict(needs_budget='5.5h')))
    seen = words(page.write(folder).read_text())
    assert 'The budget is spent' in seen
    assert 'if you give it --budget 5.5h .' in seen
    assert 'as far as its budget goes' not in seen


def test_the_time_left_is_that_of_the_runs_so_far(decided):
    """They took 600 seconds, and are half of the plan."""
    seen = words(page.write(decided(8)).read_text())
    assert 'The others take about 10 minutes.' in seen


def test_a_run_that_failed_is_told_and_takes_no_time(decided):
    folder = decided(15)
    content = json.loads((folder / 'decide.json').read_text())
    run = result(1, 64, 2, 1)
    content['failed'] = {f'{run["name"]}_seed{run["seed"]}': 'out of memory'}
    (folder / 'decide.json').write_text(json.dumps(content))
    seen = words(page.write(folder).read_text())
    assert 'out of memory' in seen
    assert 'The others take about' not in seen


def test_ends_of_the_search_are_no_measurements(decided):
    folder = decided()
    content = json.loads((folder / 'decide.json').read_text())
    behind = dict(low=16.0, middle=16.0, high=20.0)
    content['comparisons'][0] |= dict(images=behind, crossing=behind)
    content['comparisons'][0] |= dict(iterations=dict(low=0.1, middle=0.1, high=0.3))
    (folder / 'decide.json').write_text(json.dumps(content))
    seen = words(page.write(folder).read_text())
    assert 'at most 0.1× at most 0.1× to 0.3× at most 16 at most 16 to 20 no lead' in seen


def test_a_folder_without_decision_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'plan\.json: no such file; make it with tools/decide'):
        page.write(tmp_path)


def test_pictures_outlive_their_checkpoints_but_not_their_runs(decided):
    folder = decided()
    assert 'No pictures: there is no' in words(page.write(folder).read_text())
    names = {
        arm.name: f'{run["name"]}_seed0_{run["key"][:8]}/iter_200.pth'
        for i, arm in enumerate(ARMS)
        for run in [result(i, 64, 2, 0)]
    }
    box = [1, 2, 11, 12, 0]
    image = dict(name='<i>.png', width=20, height=20, jpeg='data:image/jpeg;base64,AA==')
    image |= dict(truth=[box], found={name: [[*box, 0.9, True]] for name in names})
    kept = dict(checkpoints=names, score=0.3, classes=CLASSES, images=[image])
    (folder / examples.FILE).write_text(json.dumps(kept))
    text = page.write(folder).read_text()
    assert '<script' not in text
    assert '<i>.png' not in text
    assert words(text).count(': 1 of 1 found, 0 wrong') == 2
    kept['checkpoints']['scratch'] = 'another'
    (folder / examples.FILE).write_text(json.dumps(kept))
    assert 'No pictures: there is no' in words(page.write(folder).read_text())


def test_a_detection_is_right_once_and_of_its_class():
    truth = [[0.0, 0, 10, 10, 0], [20.0, 0, 30, 10, 1]]
    found = dict(
        bboxes=[[0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10], [20, 0, 30, 4], [20, 0, 30, 10]],
        labels=[0, 0, 0, 1, 1],
        scores=[0.9, 0.8, 0.7, 0.6, 0.2],
    )
    judged = examples._judged(found, truth)
    # the second has no object left, the third another class, the fourth an IoU of 0.4
    assert [box[6] for box in judged] == [True, False, False, False]
    assert judged[0][:6] == [0, 0, 10, 9, 0, 0.9]


def test_examples_are_drawn_from_checkpoints(tmp_path, monkeypatch, capfd):
    """The truth is that of the validation images that the checkpoint's config names."""
    (tmp_path / 'annotations').mkdir()
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        images, annotations = [], []
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / split / f'{i}.png'), pixels)
            images.append(dict(id=i, file_name=f'{i}.png', width=64, height=48))
            # the first has no object
            if i:
                box = dict(bbox=[4 * i, 5, 20, 10], area=200, iscrowd=0, category_id=1)
                annotations.append(dict(id=i, image_id=i, **box))
        coco = dict(images=images, annotations=annotations, categories=[dict(id=1, name='x')])
        (tmp_path / f'annotations/instances_{split}.json').write_text(json.dumps(coco))
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, tmp_path)
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=('x',)))
    file = tmp_path / 'run_01234567' / 'iter_1.pth'
    file.parent.mkdir()
    torch.manual_seed(0)
    torch.save(dict(meta=meta, state_dict=MODELS.build(cfg.model).state_dict()), file)
    monkeypatch.setattr(examples, 'SCORE', 0.0)
    capfd.readouterr()
    drawn = examples.of(tmp_path, dict(scratch=file))
    assert capfd.readouterr().out == ''
    assert [image['name'] for image in drawn['images']] == ['1.png', '2.png']
    assert drawn['images'][0]['truth'] == [[4, 5, 24, 15, 0]]
    assert drawn['images'][1]['truth'] == [[8, 5, 28, 15, 0]]
    assert all(image['found']['scratch'] for image in drawn['images'])
    file.unlink()
    assert examples.of(tmp_path, dict(scratch=file)) == json.loads(json.dumps(drawn))


BROWSER = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), ''
)
# a window can't be as narrow as a phone, a frame can
FRAME = """<!doctype html><title></title><iframe style="width: 360px; height: 9000px"></iframe>
<script>
const frame = document.querySelector('iframe');
frame.onload = () => {
  const page = frame.contentDocument.documentElement;
  document.title = [frame.contentWindow.innerWidth, page.scrollWidth, page.scrollHeight].join(' ');
};
frame.srcdoc = SOURCE;
</script>"""


@pytest.mark.skipif(not BROWSER, reason='needs Chromium')
def test_a_phone_shows_it_whole_and_the_browser_has_no_complaint(decided, tmp_path):
    source = json.dumps(page.write(decided()).read_text()).replace('</', '<\\/')
    file = tmp_path / 'frame.html'
    file.write_text(FRAME.replace('SOURCE', source))
    options = (
        '--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking '
        '--disable-component-update --disable-sync --enable-logging=stderr --dump-dom '
        '--virtual-time-budget=5000'
    )
    shown = subprocess.run(
        [BROWSER, *options.split(), f'--user-data-dir={tmp_path / "profile"}', file.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
    )
    width, needed, height = map(int, re.search('<title>(.+?)</title>', shown.stdout)[1].split())
    assert width == 360
    assert needed <= width
    assert height > 3000
    assert [line for line in shown.stderr.splitlines() if 'CONSOLE' in line] == []
