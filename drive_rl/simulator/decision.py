"""The recipe of a decision and of a reset, for a range of environments.

One text for both ways of running it. Where every stage is a kernel it is compiled, and a thread
does all of its share of a step in one call: it needs Python (and its one lock) twice, not eight
times for each range of them. Where a stage is Python (traffic that varies, several observations
in one), the same text is run by Python, stage by stage.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from drive_rl.simulator import stages as stage
from drive_rl.simulator.jit import bare_kernel, recipe
from drive_rl.simulator.stages import call, has, take

# What `work_off` does: STEP_ONLY leaves finished episodes be
STEP, STEP_ONLY, RESET, OBSERVE = range(4)


class Batch(NamedTuple):
    """All that a step works on. Rows of arrays are environments."""

    state: Any  # State
    network: Any  # Network
    settings: Any  # Settings
    options: Any  # of the scene
    sight: Any  # options of the observation, or what an observer looks with
    actions: Any  # (num_envs, num_agents, action_size) f8
    neutral: Any  # like actions: those that change nothing
    nobody: Any  # (num_envs, 0, 1) f8: actions where no agent is there yet
    trace: Any  # see `tracing`
    no_trace: Any
    everyone: Any  # (num_envs,) bool, all True
    unused: Any  # room for what is not asked for: rewards, terminated, truncated
    result: Any  # results.StepResult
    seen: Any  # (num_envs, size): its observations, flat; nothing where an observer looks
    kept: Any  # (num_envs, size): its final_observations, likewise


@recipe
def decide(stages, batch, low, high):  # type: ignore[no-untyped-def]
    """One decision of the environments in [low, high): AbstractEnv.step."""
    state, network, settings, r = batch.state, batch.network, batch.settings, batch.result
    actions, everyone = batch.actions, batch.everyone
    observes_first = has(stages, stage.ACT)
    if observes_first:
        call(stages, stage.ACT, (state, network, settings, actions, low, high))
        observe(stages, batch, everyone, low, high)
    call(stages, stage.PASS_TIME, (state, settings, low, high))
    frames = settings.common[0].frames
    call(
        stages, stage.RUN,
        (state, network, settings, frames, actions, batch.trace, everyone, low, high),
    )  # fmt: skip
    if not observes_first:
        observe(stages, batch, everyone, low, high)
    _evaluate(stages, batch, actions, r.rewards, r.terminated, r.truncated, r.info, low, high)
    call(stages, stage.FINISH, (state, settings, r.terminated, r.truncated, r.done, low, high))
    call(
        stages, stage.AFTER_OBSERVING,
        (state, network, settings, batch.options, everyone, low, high),
    )  # fmt: skip


@recipe
def begin(stages, batch, mask, low, high):  # type: ignore[no-untyped-def]
    """A new episode in those environments of `mask` (num_envs,) that are in [low, high)."""
    state, network, settings, r = batch.state, batch.network, batch.settings, batch.result
    call(stages, stage.BEGIN, (batch.sight, mask, low, high))
    if has(stages, stage.POPULATE):
        call(stages, stage.POPULATE, (state, network, settings, batch.options, mask, low, high))
        frames = settings.common[0].warm_up
        call(
            stages, stage.RUN,
            (state, network, settings, frames, batch.nobody, batch.no_trace, mask, low, high),
        )  # fmt: skip
    call(stages, stage.RESET, (state, network, settings, batch.options, mask, low, high))
    observe(stages, batch, mask, low, high)
    rewards, terminated, truncated = batch.unused
    _evaluate(stages, batch, batch.neutral, rewards, terminated, truncated, r.first_info, low, high)


@recipe
def observe(stages, batch, mask, low, high):  # type: ignore[no-untyped-def]
    """Look at those environments of `mask` (num_envs,) that are in [low, high)."""
    call(
        stages, stage.OBSERVE,
        (
            batch.state, batch.network, batch.settings, batch.sight, mask,
            batch.result.observations, low, high,
        ),
    )  # fmt: skip
    # An observer needs to know less: it is compiled once, not for every kind of scene
    call(
        stages, stage.LOOK,
        (batch.state, batch.sight, mask, batch.result.observations, low, high),
    )  # fmt: skip


@recipe
def _evaluate(  # type: ignore[no-untyped-def]
    stages, batch, actions, rewards, terminated, truncated, info, low, high
):
    """What the scene, and highway-env's info, say of the environments as they are."""
    state, network, settings = batch.state, batch.network, batch.settings
    call(
        stages, stage.EVALUATE,
        (
            state, network, settings, batch.options, actions,
            rewards, info.rewards, terminated, truncated, low, high,
        ),
    )  # fmt: skip
    call(
        stages, stage.DESCRIBE,
        (
            state, network, info.speed, info.crashed, info.on_road, info.lane_index, low, high,
        ),
    )  # fmt: skip
    call(
        stages, stage.EVALUATE_AGENTS,
        (state, network, settings, batch.options, info.agents, low, high),
    )  # fmt: skip


@bare_kernel
def work_off(stages, batch, mask, what, tickets, shares, most):  # type: ignore[no-untyped-def]
    """Take ranges of environments until none is left, as several threads do at once.

    A range is a `shares`-th of what is left, and at most `most`: large ones while there is much to
    do, small ones at the end, so that no thread waits long for the last.

    `tickets` (1,) i8 is where the next range begins; `mask` (num_envs,) bool is of a RESET or
    an OBSERVE.
    """
    num_envs = mask.shape[0]
    while True:
        # Another thread may take one in between: then this range is a little large
        size = max(1, min(most, (num_envs - tickets[0]) // shares))
        low = take(tickets, size)
        if low >= num_envs:
            break
        high = min(low + size, num_envs)
        begins, anew = mask, what == RESET
        if what == OBSERVE:
            observe(stages, batch, mask, low, high)
        elif what != RESET:
            decide(stages, batch, low, high)
            begins = batch.result.done
            if what == STEP:
                for env in range(low, high):
                    if begins[env]:
                        anew = True
                        for k in range(batch.seen.shape[1]):
                            batch.kept[env, k] = batch.seen[env, k]
        if anew:  # in one place: what is written into a kernel twice is compiled twice
            begin(stages, batch, begins, low, high)
