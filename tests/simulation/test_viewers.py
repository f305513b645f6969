"""Viewers get every line once and in order, and the end, whatever fails on the way and in whatever order."""

from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.simulation.viewers import Show, Story
from tests.simulation.world import World

gaps = st.one_of(st.floats(0, 0.1), st.floats(0, 8))
acts = st.lists(st.tuples(st.floats(0, 60), st.sampled_from(["cut", "cut", "subscribe"])), max_size=4)
stories = st.builds(
    Story,
    st.lists(st.tuples(gaps, st.integers(1, 6)), min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0, 60), acts), min_size=1, max_size=3),
)
often = hypothesis_settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def play(story: Story, seed: int, rate: float) -> Show:
    world = World(seed)
    world.fault_rate = rate
    show = Show(world, story)
    with show.installed():
        assert show.tell(), "a viewer has not got the end"
    return show


@given(stories, st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.3]))
@often
def test_every_viewer_gets_every_line_once_and_the_end(story: Story, seed: int, rate: float) -> None:
    show = play(story, seed, rate)
    for viewer in show.viewers:
        assert viewer.client.lines == show.lines
        end: Any = viewer.client.end
        assert (end["status"], end["sealed"], end["lineCount"]) == ("ready", True, len(show.lines))


@given(stories, st.integers(0, 2**32))
@often
def test_without_faults_nothing_comes_twice_and_all_in_order(story: Story, seed: int) -> None:
    viewers = [(comes, [each for each in acts if each[1] == "cut"]) for comes, acts in story.viewers]
    show = play(Story(story.batches, viewers), seed, 0)
    assert show.repeated == 0
    assert not show.behind
    for viewer in show.viewers:
        assert viewer.client.lines == show.lines
        if show.stored == sorted(show.stored):
            assert [*viewer.client.lines] == [*show.lines]
        chain = [frame for frame in viewer.chain if frame["type"] == "lines"]
        assert all(one["cursor"] == other["after"] for one, other in pairwise(chain))
