"""Let a resumed run follow its config's schedule, if the past learning rates were the same."""

from collections.abc import Mapping, Sequence
from typing import Any

# state of a scheduler that changes with the iterations
MOVING = frozenset({'last_step', '_global_step', '_last_value', 'verbose'})
NAMES = {'base_values': 'rate'}
# settings of torch's optimizers that change results; schedulers compare the learning rate
OPTIONS = ('weight_decay', 'momentum', 'betas', 'eps', 'dampening', 'nesterov')


def follow_config(schedulers: Any, states: Any) -> list[str]:
    """Give a checkpoint's schedulers the drops and the end that the config has.

    MMEngine continues with the checkpoint's schedule, whatever the config says. Schedules of all
    lengths begin alike, so this function lets them share their beginning: a run that is resumed
    before its first drop, with the config of another schedule, equals a run of that schedule to the
    bit.

    Args:
        schedulers: those of the config. Only a list is handled.
        states: the checkpoint's ``param_schedulers``. Those without a fault are changed in place.

    Returns:
        Faults: differences between the checkpoint's past schedule and the config's.
    """
    if not isinstance(schedulers, list) or not isinstance(states, list):
        return []
    if len(schedulers) != len(states):
        return [f'it began with {len(states)} schedulers, this config has {len(schedulers)}']
    return [
        fault
        for scheduler, state in zip(schedulers, states)
        if (fault := _follow(type(scheduler).__name__, scheduler.state_dict(), state))
    ]


def optimizer_faults(
    groups: Sequence[Mapping[str, Any]], saved: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Find options of the optimizer that a resumed run would not follow.

    torch loads a checkpoint's groups whole, so that those of the config have no effect.

    Args:
        groups: the ``param_groups`` of the config's optimizer, one a parameter or more.
        saved: those of the checkpoint. Torch itself refuses another number of them.
    """
    differences = {
        f'{key} {_plain(before[key])} and here {_plain(now[key])}'
        for now, before in zip(groups, saved)
        for key in OPTIONS
        # a scheduler of the momentum changes it
        if key in now and key in before and f'initial_{key}' not in now
        if _plain(now[key]) != _plain(before[key])
    }
    return [f'the optimizer began with {text}' for text in sorted(differences)]


def _follow(name: str, planned: Mapping[str, Any], state: dict[str, Any]) -> str | None:
    # other versions may have other names
    keys = planned.keys() & state.keys() - MOVING
    changed = sorted(key for key in keys if planned[key] != state[key])
    if not changed:
        return None
    # steps since the scheduler's begin; a scheduler stops counting at its end
    now = state['_global_step'] - state['begin']
    ends = {'end', 'milestones'} if 'milestones' in state else set()
    is_same = now < 0 or set(changed) <= ends
    if is_same and now >= 0:
        passed = [m for m in state['milestones'].elements() if m <= state['last_step']]
        due = [m for m in planned['milestones'].elements() if m <= now]
        is_same = sorted(passed) == sorted(due) and planned['end'] > state['_global_step']
    if not is_same:
        differences = ', '.join(
            f'{NAMES.get(key, key)} {_plain(state[key])} and here {_plain(planned[key])}'
            for key in changed
        )
        return (
            f'{name} differs from this config up to iteration {state["_global_step"]} '
            f'({differences}): resume with the config and options of the start, or from a '
            'checkpoint before the first drop of either, or start anew'
        )
    state.update({key: planned[key] for key in changed})
    if now >= 0:
        state['last_step'] = now
    return None


def _plain(value: Any) -> Any:
    """Milestones as a list; rates of all parameters without repetitions; betas as a list."""
    if isinstance(value, Mapping):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return sorted(set(value)) if isinstance(value, list) else value
