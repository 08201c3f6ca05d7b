"""The page of runs, from what their folders have; tests/test_tools.py runs the tool."""

import re
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from mmscratch.evaluation.detections import Detections
from mmscratch.evaluation.metric_names import title
from mmscratch.visualization.run_folder import RunFolder
from mmscratch.visualization.run_report import page


def run(path: Path, ap: dict[int, float], arm: str = 'scratch', **parts) -> RunFolder:
    history = [
        {'iteration': i, 'train_seconds': 36.0 * i, 'bbox_mAP': value, 'bbox_AP/<cat>': value}
        for i, value in ap.items()
    ]
    metrics = dict(history=history, last=history[-1], iterations=max(ap), images_seen=8 * max(ap))
    metrics |= dict(initialization=dict(arm=arm), command='train.py <config>', train_seconds=7200)
    records = [dict(step=i, loss=1 / i, lr=0.1) for i in ap]
    return RunFolder(path, metrics, records, history, **parts)


def rows(text: str) -> dict[str, list[str]]:
    """The cells of all tables by the head of their row."""
    found = re.findall(r'<tr>\s*<th scope="row">(.*?)</th>(.*?)</tr>', text, re.DOTALL)
    return {head: re.findall(r'<td.*?>(.*?)</td>', cells) for head, cells in found}


def detections(folder: Path) -> Detections:
    """One cat found in the one image, and one more that is none."""
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), np.full((60, 80, 3), 200, np.uint8))
    cat = [10.0, 10.0, 20.0, 20.0]
    truth = dict(
        images=[dict(id=1, width=80, height=60)],
        annotations=[dict(id=1, image_id=1, bbox=cat, area=400, category_id=1, iscrowd=0)],
        categories=[dict(id=1, name='<cat>')],
    )
    found = [[1, 50.0, 30.0, 20.0, 20.0, 0.9, 1], [1, *cat, 0.8, 1]]
    return Detections(['<cat>'], [str(folder / 'a.png')], truth, found)


def test_twins_side_by_side(tmp_path):
    configs = [Config(dict(model=dict(init_cfg=value), work_dir=value)) for value in ('a', 'b')]
    proof = dict(init='random', initial_weights_sha256='0123456789abcdef0123')
    scratch = run(tmp_path / 'scratch/x', {10: 0.1, 20: 0.41}, config=configs[0], proof=proof)
    twin = run(tmp_path / 'pretrained/x', {10: 0.3, 20: 0.42}, 'imagenet', config=configs[1])
    text = page([scratch, twin])
    assert 'pretrained/x ends at 42.0 box AP, scratch/x at 41.0.' in text
    cells = rows(text)
    assert cells['AP'] == cells['&lt;cat&gt;'] == ['41.0', '42.0']
    assert cells['initialization'] == ['scratch', 'imagenet']
    assert cells['images seen'] == ['160', '160']
    assert cells['hours of training'] == ['2.00', '2.00']
    assert cells['proof: weights at step 0 (SHA-256)'] == ['0123456789abcdef', '–']
    assert 'Configs differ in 1 key' in text
    assert cells['model.init_cfg'] == ['a', 'b']
    for unit in ('iterations', 'images seen', 'hours of training'):
        assert f'box AP of the validations against {unit}.' in text
    # nothing is loaded or executed, and what users name is text
    assert not re.search(r'<script|<link|\bsrc="(?!data:)|<config>|<cat>', text)


def test_what_cannot_be_compared_is_said(tmp_path):
    def proof(sha256):
        return dict(init='random', annotations=[dict(split='val', sha256=sha256)])

    first = run(tmp_path / 'a', {10: 0.1}, proof=proof('1'))
    same, other = (run(tmp_path / n, {10: 0.3}, proof=proof(sha)) for n, sha in ('b1', 'c2'))
    assert 'validated on different images' not in page([first, same])
    assert 'validated on different images' in page([first, other])
    keypoints = run(tmp_path / 'k', {10: 0.2})
    keypoints.metrics['last'] = dict(iteration=10, keypoints_mAP=0.2)
    text = page([first, keypoints, same])
    assert 'k ends at 20.0 keypoint AP. b ends at 30.0 box AP, a at 10.0.' in text


def test_a_run_that_has_not_ended_is_at_a_number(tmp_path):
    config = Config(dict(train_cfg=dict(max_iters=1000)))
    text = page([run(tmp_path / 'a', {100: 0.2, 200: -1}, config=config)])
    assert 'a is at – box AP (after 200 of 1,000 iterations).' in text
    text = page([run(tmp_path / 'a', {1000: 0.2}, config=config)])
    assert 'a ends at 20.0 box AP.' in text


def test_changed_code_is_told(tmp_path):
    changed = run(tmp_path / 'a', {10: 0.2})
    changed.metrics['git_commit'] = 'a' * 40 + '+'
    assert rows(page([changed]))['commit'] == ['a' * 12 + '+']


def test_what_was_detected(tmp_path):
    one = run(tmp_path / 'one', {10: 0.5}, detections=detections(tmp_path / 'one'))
    text = page([run(tmp_path / 'zero', {10: 0.1}), one])
    cells = rows(text)
    # the wrong one has the higher score; all recalls have a precision of 1/2
    assert cells['&lt;cat&gt;, IoU 0.50'] == cells['all classes, IoU 0.50:0.95'] == ['50.0']
    assert cells['background'] == ['50.0 (1)']
    assert cells['missed'] == ['0.0 (0)']
    assert 'Images of one' in text
    assert 'Images of zero' not in text
    assert 'a.png: F1 67, 1 right, 1 wrong, 0 missed' in text
    assert text.count('src="data:image/jpeg') == 2  # the best one is also the worst


def test_images_that_are_gone_are_left_out(tmp_path):
    found = detections(tmp_path / 'one')
    (tmp_path / 'one/a.png').unlink()
    text = page([run(tmp_path / 'one', {10: 0.5}, detections=found)])
    assert 'background' in text
    assert 'image/jpeg' not in text
    assert f'Images are not there, such as {tmp_path}/one/a.png.' in text


def test_images_that_cannot_be_read_are_left_out(tmp_path):
    found = detections(tmp_path / 'one')
    (tmp_path / 'one/a.png').write_bytes(b'damaged')
    text = page([run(tmp_path / 'one', {10: 0.5}, detections=found)])
    assert 'image/jpeg' not in text
    assert 'There is no image that can be read' in text
    none = Detections(
        ['cat'], [], dict(images=[], annotations=[], categories=found.truth['categories']), []
    )
    assert 'There is no image that can be read' in page([run(tmp_path, {10: 0.5}, detections=none)])


def test_the_page_says_what_is_missing(tmp_path):
    text = page([RunFolder(tmp_path / 'empty', missing=['no <numbers>'])])
    assert '1 run without a validation.' in text
    assert 'no &lt;numbers&gt;' in text
    assert 'Precision' not in text


def test_names_of_numbers():
    keys = ('bbox_mAP', 'segm_mAP_75', 'keypoints_mAP_m', 'bbox_AR_s@100')
    assert [title(key) for key in keys] == [
        'box AP',
        'mask AP75',
        'keypoint AP_m',
        'box AR_s@100',
    ]
    assert title('voc_mAP') == 'VOC mAP'
    assert title('accuracy') == 'accuracy'


def test_the_gap_to_training_images(tmp_path):
    watched, plain = run(tmp_path / 'a', {10: 0.4, 20: 0.41}), run(tmp_path / 'b', {10: 0.4})
    for entry in watched.history:
        entry['train_bbox_mAP'] = 0.9
    watched.metrics['verdict'] = 'plateau since iteration 10'
    text = page([watched, plain])
    assert text.count('id="gap-bbox_mAP-figure_1"') == 1
    assert 'box AP on training images, less that on validation images.' in text
    assert rows(text)['verdict'] == ['plateau since iteration 10', '–']
    assert 'gap-' not in page([plain])
