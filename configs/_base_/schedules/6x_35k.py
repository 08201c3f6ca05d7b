# 6x for a third of COCO: lr 0.04 and decay factor 0.02, chosen by the paper for 35k images
# (section 5.2). Weight decay is not among its changes.
_base_ = './nx.py'

optim_wrapper = dict(optimizer=dict(lr=0.04))
max_iters, train_cfg, param_scheduler = _base_.pop('nx')[6]
param_scheduler[1].gamma = 0.02
