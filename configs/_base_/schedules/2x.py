_base_ = './nx.py'

max_iters, train_cfg, param_scheduler = _base_.pop('nx')[2]
