_base_ = './epochs.py'

max_iters, train_cfg, param_scheduler = _base_.pop('hundreds')[1]
