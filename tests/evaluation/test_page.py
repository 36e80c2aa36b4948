"""The page: whole, self-contained, and safe against whatever its names contain."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from drive_rl.environments.scene import LaneShape, Line
from drive_rl.evaluation import evaluate
from drive_rl.evaluation.crashes import CrashTrace, classify
from drive_rl.evaluation.page import render, write_page
from drive_rl.evaluation.page.cards import card_of
from drive_rl.evaluation.page.maps import crash_map
from drive_rl.evaluation.page.plots import figures
from drive_rl.evaluation.results import CrashCard

from .test_crashes import DT, MOVING, TIME, path

EVIL = "<script>alert(1)</script>"


class Faster:
    """Always FASTER, and sure of it."""

    name = EVIL

    def predict(self, observations, deterministic=True):
        return np.full(len(observations), 3)

    def action_probabilities(self, observations):
        return np.tile([0.01, 0.04, 0.05, 0.896, 0.004], (len(observations), 1))


@pytest.fixture(scope="module")
def evaluation():
    config = {"duration": 8, "vehicles_count": 12}
    return evaluate(Faster(), "highway-fast-v0", episodes=8, engine="reference", config=config)


@pytest.fixture(scope="module")
def page(evaluation):
    return render(evaluation)


class Outline(HTMLParser):
    """Elements, and whatever would load something."""

    def __init__(self, page):
        super().__init__()
        self.counts, self.loads, self.scripts, self._in_script = {}, [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")
        self.loads += [(tag, k, v) for k, v in attrs if k in ("src", "href", "srcset", "data")]

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data


def test_the_page_asks_for_nothing(page):
    loads = [load for load in Outline(page).loads if not load[2].startswith("#")]
    assert loads == []
    assert "default-src 'none'" in page


def test_the_page_is_well_under_15_megabytes(page):
    assert len(page.encode()) < 8e6


def test_names_stay_text(page):
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert Outline(page).counts["script"] == 3


def test_figures_in_the_page_are_data_that_a_browser_can_read(page):
    (data, _, _) = Outline(page).scripts
    plots = json.loads(data)
    assert {"speed-crashes", "returns", "speeds", "headways", "ttcs"} <= set(plots)
    names = {trace["name"] for trace in plots["returns"]["data"]}
    assert EVIL in names


def test_every_crash_that_is_shown_has_a_map_and_a_way_to_replay_it(evaluation, page):
    cards = evaluation.policies[0].details.cards
    assert 1 <= len(cards) <= 12
    assert Outline(page).counts["article"] == len(cards)
    for card in cards:
        assert f"episodes/script-alert-1-script/{card.seed}.json" in page


def test_a_page_that_travels_alone_points_to_no_files_beside_it(evaluation, tmp_path):
    write_page(evaluation, tmp_path / "sub" / "mine.html", videos=0)
    page = (tmp_path / "sub" / "mine.html").read_text()
    assert "watch --replay" not in page
    assert "beside this page" not in page
    named = dataclasses.replace(evaluation.policies[0], name="random")
    page = render(dataclasses.replace(evaluation, policies=(named,)), stored=False)
    seed = evaluation.policies[0].details.cards[0].seed
    assert f"drive-rl watch --policy random --env highway-fast-v0 --seed {seed}" in page


def test_every_metric_of_the_first_policy_stands_in_the_page(evaluation, page):
    for metric in evaluation.shown:
        if metric.name in evaluation.metrics:
            assert metric.label in page
            assert metric.shown(evaluation.metrics[metric.name].mean) in page


def test_an_evaluation_that_was_read_back_makes_a_page_too(evaluation, tmp_path):
    from drive_rl.evaluation import read_evaluation

    page = render(read_evaluation(evaluation.write(tmp_path, page=False)))
    assert "How well it drives" in page
    assert Outline(page).counts.get("article", 0) == 0


def test_a_policy_without_crashes_is_not_called_perfect():
    evaluation = evaluate(
        "idle",
        "highway-fast-v0",
        episodes=4,
        config={"vehicles_count": 0, "duration": 3},
        engine="reference",
        baselines=(),
    )
    page = render(evaluation)
    assert "did not crash once in 4 episodes" in page
    assert "fewer than 49.0%" in page


@pytest.mark.parametrize("env", ["parking-v0", "intersection-multi-agent-v0", "lane-keeping-v0"])
def test_scenes_of_all_kinds_make_a_page(env):
    evaluation = evaluate("random", env, episodes=2, max_steps=12, baselines=(), engine="reference")
    assert "How this was measured" in render(evaluation)


def test_an_evaluation_from_decisions_alone_says_so(evaluation):
    bare = dataclasses.replace(evaluation.policies[0], extras={"measured_from": "decisions"})
    page = render(dataclasses.replace(evaluation, policies=(bare,)))
    assert "crashes cannot be told apart" in page
    assert "reports decisions only" in page


def crash_card(probabilities=None, actions=(1, 3, 3)):
    other = path(4.9 + 20 * TIME, 0.0, speed=20.0)
    trace = CrashTrace(2, np.stack([MOVING, other], axis=1), DT)
    lane = LaneShape(np.array([[-500.0, 0.0], [500.0, 0.0]]), 4.0, Line.STRIPED, Line.CONTINUOUS)
    return CrashCard(classify(trace), trace, 9, (lane,), actions, probabilities, 1.0)


def test_a_map_shows_both_where_they_met():
    svg = str(crash_map(crash_card()))
    assert svg.count("<g class=") == 2
    # In the map the ego of one step before the impact is the origin; the impact moves it 6 m on.
    places = dict(re.findall(r'data-row="(\d)" transform="translate\((\S+ \S+)\)', svg))
    assert places == {"0": "6.00 0.00", "1": "10.90 0.00"}
    assert svg.count('class="asphalt"') == 1
    assert svg.count("striped") == 1


def test_a_map_turns_with_the_ego():
    card = crash_card()
    frames = card.trace.frames.copy()
    x, y = frames[..., 0].copy(), frames[..., 1].copy()
    frames[..., 0], frames[..., 1] = -y + 30.0, x - 12.0  # a quarter turn, and somewhere else
    frames[..., 2] += np.pi / 2
    turned = dataclasses.replace(card, trace=CrashTrace(2, frames, DT), lanes=())
    plain = dataclasses.replace(card, lanes=())
    first, second = (re.sub(r"-0\.0+(?!\d)", "0.0", str(crash_map(c))) for c in (turned, plain))
    assert first.replace("0.00", "0.0") == second.replace("0.00", "0.0")


def test_a_card_tells_what_the_policy_thought():
    odds = np.array([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.004, 0.0, 0.996]])
    names = ("slower", "idle", "faster")
    card = card_of(crash_card(odds, (1, 2, 2)), names, "")
    assert card["times"] == ["−2 s", "−1 s", "last"]
    assert [row["name"] for row in card["decisions"]] == list(names)
    assert [cell["text"] for cell in card["decisions"][2]["cells"]] == ["0", "50", "99.6"]
    assert [cell["chosen"] for cell in card["decisions"][2]["cells"]] == [False, True, True]
    assert card["facts"] == "Ego 30.0 m/s, the other 20.0 m/s, closing at 10.0 m/s."


def test_a_card_without_probabilities_lists_the_actions():
    card = card_of(crash_card(None, ((0.5, -0.25), (0.0, 1.0))), (), "")
    assert card["decisions"][0]["cells"][0]["text"] == "+0.50, −0.25"
    assert card["times"] == ["−1 s", "last"]


def test_plots_use_only_numbers_that_json_knows(evaluation):
    json.dumps(figures(evaluation), allow_nan=False)
