from mmengine.config import Config

from mmscratch.config.config_difference import difference


def config(**changed) -> Config:
    loader = dict(batch_size=8, dataset=dict(pipeline=[dict(type='Load'), dict(scale=(4, 3))]))
    return Config(dict(model=dict(type='A'), train_dataloader=loader) | changed)


def test_only_what_differs_is_named_with_each_configs_value():
    assert difference([config(), config()]) == {}
    other = config(model=dict(type='B', init_cfg=dict(checkpoint='x.pth')))
    other.train_dataloader.dataset.pipeline[1].scale = (8, 6)
    assert difference([config(), other, config()]) == {
        'model.type': ['A', 'B', 'A'],
        'model.init_cfg.checkpoint': [None, 'x.pth', None],
        'train_dataloader.dataset.pipeline.1.scale': [[4, 3], [8, 6], [4, 3]],
    }


def test_neither_variables_nor_the_folder_of_the_run_differ():
    assert difference([config(work_dir='a', my_scale=3), config(work_dir='b', my_scale=4)]) == {}
