"""The learning rate of a resumed run: its config's, if up to there it was the same."""

from collections.abc import Mapping
from typing import Any

# What changes from iteration to iteration
MOVING = frozenset({'last_step', '_global_step', '_last_value', 'verbose'})
NAMES = {'base_values': 'rate'}


def follow_config(schedulers: Any, states: Any) -> list[str]:
    """Give a checkpoint's schedulers the drops and the end that the config has.

    MMEngine goes on with the checkpoint's, whatever the config says. With this, schedules of all
    lengths, which begin alike, can share their beginning: what is resumed in the middle of the
    constant rate with another schedule's config is that schedule's run, to the bit.

    Args:
        schedulers: as the config makes them; a list, all other kinds are left alone.
        states: the checkpoint's ``param_schedulers``; those without a fault are changed in place.

    Returns:
        Faults: what the checkpoint has behind it that the config's schedule has otherwise.
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


def _follow(name: str, planned: Mapping[str, Any], state: dict[str, Any]) -> str | None:
    # other versions may have other names
    keys = planned.keys() & state.keys() - MOVING
    changed = sorted(key for key in keys if planned[key] != state[key])
    if not changed:
        return None
    # steps since the scheduler's begin; it counts none behind its end
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
            f'{name} at iteration {state["_global_step"]} has behind it what this config has '
            f'otherwise ({differences}): resume with what it began with, or from a checkpoint '
            'before the first drop of either, or start anew'
        )
    state.update({key: planned[key] for key in changed})
    if now >= 0:
        state['last_step'] = now
    return None


def _plain(value: Any) -> Any:
    """Milestones as a list; of the rates of all parameters those that differ."""
    if isinstance(value, Mapping):
        return sorted(value)
    return sorted(set(value)) if isinstance(value, list) else value
