# Shared by most schedules. Paper, section 3: SGD, momentum 0.9, weight decay 1e-4, lr 0.02 for
# 16 images a step. Detectron (detectron/modeling/optimizer.py): no decay on GN's scale and shift,
# and biases of other layers learn at twice the rate without decay.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_lr_mult=2.0, bias_decay_mult=0.0),
)

# The images a step that lr and iterations below are meant for, whatever the number of GPUs:
# tools/train.py accumulates gradients, or scales lr and iterations (--batch), to keep to it.
auto_scale_lr = dict(enable=False, base_batch_size=16)

# Warm-up: linear from 1/3 over 500 iterations. mmengine reaches factor 1 at iteration end - 1,
# Detectron at iteration 500, hence end=501.
train_cfg = dict(type='ResumableIterBasedTrainLoop', max_iters=90_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
