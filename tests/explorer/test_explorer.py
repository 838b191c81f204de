"""The explorer without a browser: whatever happens to its dials, it ends where a direct computation does."""

import json
import random
import re
import threading

import pytest
import torch

import oatlib
from oatlib.data.shapes import SHAPES
from oatlib.explorer import cache, description
from oatlib.explorer import measure as measuring
from oatlib.explorer import widget as module
from oatlib.explorer.measure import HELPER, head, measure, refine
from oatlib.explorer.named_attacks import CHOICES, attack_named
from oatlib.explorer.state import read
from oatlib.explorer.surface import EPS
from oatlib.explorer.worker import NAME

pytestmark = pytest.mark.slow

DATA = oatlib.load_data("shapes", n_train=96, n_val=48, n_test=8)
PANEL = DATA.val.panel(48)
PART = 32  # images that are attacked first; a part of all, and no divisor of 48


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.setattr(measuring, "PART", PART)
    monkeypatch.setattr(module, "PART", PART)


@pytest.fixture(scope="module")
def nets():
    made = {name: oatlib.build(name, DATA) for name in ("oats", "float", "standard")}
    oatlib.train(made["oats"], DATA, epochs=2, batch=16, lr=0.1, steps=1, ramp=0.0, panel=16, progress=False)
    return made


@pytest.fixture
def explorer(nets, monkeypatch):
    """One that does not measure whole curves in its pauses, which takes its time."""
    monkeypatch.setattr(module.Surface, "fill", lambda *_: iter(()))
    made = oatlib.explore(nets, DATA)
    yield made
    made.close()
    assert not threads()


def threads():
    """The worker, and the threads on which it measures."""
    return [t for t in threading.enumerate() if t.name == NAME or t.name.startswith(HELPER)]


def test_the_widget_opens_with_all_that_a_page_needs(nets, monkeypatch):
    """A browser may draw the page as soon as the widget is open."""
    opened = []
    monkeypatch.setattr(module.Explorer, "open", lambda self: opened.append(self.get_state()))
    monkeypatch.setattr(module.Surface, "fill", lambda *_: iter(()))
    made = oatlib.explore(nets, DATA, lam=0.3)
    made.halt()
    (state,) = opened
    assert state["description"] == made.description and len(state["description"]["images"]) > 0
    assert state["surfaces"].keys() == nets.keys() and state["controls"]["lam"] == 0.3
    made.close()


def direct(nets, given):
    """What must be on the screen when the dials have come to rest there."""
    state = read(given, nets)
    attack = attack_named(state.attack, state.eps / 255)
    watched = description.one_of_each_class(PANEL)
    where = state.lam, state.width, attack
    *_, first = measure(nets[state.network], head(PANEL, PART), *where, watched)
    *_, last = refine(nets[state.network], PANEL, *where, first)
    return {"key": list(state.setting), "of": len(PANEL), **last}


def settled(explorer):
    explorer.flush()
    return {k: v for k, v in explorer.live.items() if k != "ms"}


def agrees(explorer, nets):
    expected = direct(nets, explorer.controls)
    expected.pop("ms")
    return settled(explorer) == expected


def turn(explorer, **change):
    """As the browser does it: the whole state, with what the dials of the network have."""
    controls = explorer.controls | change
    net = explorer.nets[controls["network"]]
    controls["lam"] = min(max(controls["lam"], net.spec.stops[0]), net.spec.stops[-1])
    controls["width"] = min(net.spec.widths, key=lambda own: abs(own - controls["width"]))
    explorer.controls = controls


@pytest.mark.parametrize("dial", ["lam", "width", "eps", "attack", "network"])
def test_every_dial_at_its_ends_and_in_the_middle(explorer, nets, dial):
    ways = {"lam": (0.0, 0.37, 1.0), "width": (0.5, 0.75, 1.0), "eps": (0.0, 7.0, 16.0),
            "attack": ("pgd-1", "pgd-10", "quick"), "network": ("float", "standard", "oats")}  # fmt: skip
    for value in ways[dial]:
        turn(explorer, **{dial: value})
        assert agrees(explorer, nets) and explorer.error == ""


def events(seed, n):
    choose = random.Random(seed)
    for _ in range(n):
        yield choose.choice([
            {"lam": round(choose.random(), 3)}, {"lam": round(choose.random(), 3)},
            {"width": choose.choice((0.5, 0.75, 1.0))}, {"eps": float(choose.randrange(17))},
            {"attack": choose.choice(CHOICES)},
            {"network": choose.choice(("oats", "float", "standard"))}, {"min_clean": round(choose.random(), 2)},
        ])  # fmt: skip


LAMS = {"oats": (0.1, 0.9), "float": (0.2, 0.5), "standard": (0.0,)}  # where a hand may go next


def test_a_thousand_events_end_where_a_direct_computation_does(explorer, nets, monkeypatch):
    monkeypatch.setattr(cache, "KEPT", 8)
    most, orders = 0, random.Random(1)
    for i, change in enumerate(events(0, 1000)):
        turn(explorer, **change)
        explorer._on_message({"do": "prefetch", "lam": orders.choice(LAMS[explorer.controls["network"]])})
        if i % 50 == 0:
            explorer.pace = orders.choice(("run", "slow", "pause"))
            explorer._on_message({"do": "attack-step"})
        most = max(most, sum(thread.name == NAME for thread in threads()))
    explorer.pace = "run"
    assert agrees(explorer, nets)
    assert most == 1 and len(explorer._cache._settled) <= 8 and explorer.error == ""


def test_events_from_several_threads_end_where_the_last_one_says(explorer, nets):
    """JupyterLab sends the first event of a slider on another thread than the later ones."""
    lock = threading.Lock()

    def hand(seed):
        for change in events(seed, 60):
            with lock:  # one trait, one value: the browser's order of events is not what is at stake
                turn(explorer, **change)

    hands = [threading.Thread(target=hand, args=(seed,)) for seed in range(3)]
    for one in hands:
        one.start()
    for one in hands:
        one.join()
    assert agrees(explorer, nets)


def test_a_setting_that_was_measured_comes_back_at_once_with_the_same_numbers(explorer, nets, monkeypatch):
    first = settled(explorer)
    turn(explorer, lam=1.0)
    settled(explorer)
    monkeypatch.setattr(module, "measure", None)
    turn(explorer, lam=first["key"][1])
    assert settled(explorer) == first and explorer.error == ""


def test_what_was_measured_ahead_is_there_when_the_dials_come(explorer, nets, monkeypatch):
    settled(explorer)
    explorer._on_message({"do": "prefetch", "lam": 0.45})
    explorer.flush()
    assert explorer.live["key"][1] != 0.45, "it is not shown before"
    expected = direct(nets, explorer.controls | {"lam": 0.45})
    monkeypatch.setattr(module, "measure", None)
    turn(explorer, lam=0.45)
    assert settled(explorer) == {k: v for k, v in expected.items() if k != "ms"} and explorer.error == ""


def test_what_is_on_its_way_ahead_is_gone_on_with(explorer, nets, monkeypatch):
    """The dials come in the middle of its walk: its newest number is shown at once, and no step is taken twice."""
    turn(explorer, eps=1.0)
    settled(explorer)
    taken, shown = [], []

    def counted(*arguments):
        for frame in measure(*arguments):
            taken.append(frame["step"])
            if frame["step"] == 3 and len(taken) == 5:
                turn(explorer, lam=0.45)
            yield frame

    monkeypatch.setattr(module, "measure", counted)
    explorer.observe(lambda change: shown.append(change.new["step"]), "live")
    explorer._on_message({"do": "prefetch", "lam": 0.45})
    explorer.flush()
    assert explorer.controls["lam"] == 0.45 and agrees(explorer, nets) and explorer.error == ""
    assert taken == list(range(-1, explorer.live["step"] + 1)) and shown[0] == 3 and shown[-1] == taken[-1]


@pytest.mark.parametrize(("seconds", "shown"), [(1e6, [0, 20]), (-1.0, list(range(-1, 21)))])
def test_what_takes_long_is_shown_as_it_goes_what_is_quick_from_the_first_attacked_images(
    explorer, seconds, shown, monkeypatch
):
    settled(explorer)
    monkeypatch.setattr(module, "GLANCE", seconds)
    steps = []
    explorer.observe(lambda change: steps.append(change.new["step"]), "live")
    turn(explorer, network="oats", lam=0.0 if seconds > 0 else 0.05, eps=1, attack="pgd-20")
    settled(explorer)
    assert steps == [*shown, explorer.live["step"]], "the last one is that of all images"


def frames_of(explorer):
    """A list that gets (phase, n) of every frame that is sent."""
    sent = []
    explorer.observe(lambda change: sent.append((change.new["phase"], change.new["n"])), "live")
    return sent


def test_the_first_images_are_settled_first_and_the_others_join_them(explorer, nets):
    settled(explorer)
    sent = frames_of(explorer)
    turn(explorer, lam=0.2, eps=1.0, attack="pgd-5")
    last = settled(explorer)
    assert sent[-2:] == [("settled", PART), ("settled", 48)] and last["of"] == 48
    assert ("walk", PART) in sent[:-2] and not [n for phase, n in sent[:-2] if phase == "settled" or n != PART]
    (result,) = oatlib.evaluate(nets["oats"], PANEL, oatlib.PGD(1 / 255, 5), [0.2], [1.0], progress=False)
    assert last["clean"] == result.clean and abs(last["robust"] - result.robust) <= 1.01 / 48
    assert last["correct"][0] == 48 * result.clean and last["robust"] == last["correct"][-1] / 48


def test_a_move_ends_the_refinement_and_a_move_back_goes_on_after_the_images_that_are_known(
    explorer, nets, monkeypatch
):
    settled(explorer)
    monkeypatch.setattr(measuring, "PART", 4)
    refined, attacked = [], []

    def counted(net, panel, lam, width, attack, first):
        refined.append((lam, first["n"]))
        for frame in refine(net, panel, lam, width, attack, first):
            attacked.append((lam, frame["n"]))
            yield frame
            if frame["n"] == 36 and lam == 0.2 and len(refined) == 1:
                turn(explorer, lam=0.7)

    monkeypatch.setattr(module, "refine", counted)
    turn(explorer, lam=0.2, eps=1.0)
    last = settled(explorer)
    assert (last["key"][1], last["n"]) == (0.7, 48)
    assert refined == [(0.2, PART), (0.7, PART)] and max(n for lam, n in attacked if lam == 0.2) == 36
    attacked.clear()
    monkeypatch.setattr(module, "measure", None)
    turn(explorer, lam=0.2)
    assert settled(explorer)["n"] == 48 and explorer.error == ""
    assert refined[2:] == [(0.2, 36)] and min(n for _, n in attacked) == 36
    assert agrees(explorer, nets)


def test_the_next_setting_is_measured_ahead_before_the_present_one_is_refined(explorer, monkeypatch):
    settled(explorer)
    begun = []
    monkeypatch.setattr(module, "measure", noted(begun, "measure", measure))
    monkeypatch.setattr(module, "refine", noted(begun, "refine", refine))
    sent = frames_of(explorer)
    explorer.observe(
        lambda change: change.new["phase"] == "settled" and change.new["n"] == PART and order_ahead(explorer), "live"
    )
    turn(explorer, lam=0.4, eps=1.0)
    explorer.flush()
    assert begun == [("measure", 0.4), ("measure", 0.45), ("refine", 0.4)]
    assert sent[-1] == ("settled", 48) and explorer.live["key"][1] == 0.4


def order_ahead(explorer):
    explorer._on_message({"do": "prefetch", "lam": 0.45})


def noted(begun, name, function):
    def noting(net, panel, lam, *arguments):
        begun.append((name, lam))
        return function(net, panel, lam, *arguments)

    return noting


def test_a_refinement_that_waits_does_not_return_after_a_move(explorer, monkeypatch):
    """It waits behind what is measured ahead, and the next move is paused in the middle of its walk."""
    settled(explorer)
    walks = []

    def moving(net, panel, lam, *arguments):
        walks.append(lam)
        for frame in measure(net, panel, lam, *arguments):
            yield frame
            if lam == 0.45 and len(walks) == 2:
                explorer.pace = "pause"
                turn(explorer, lam=0.9)
                for _ in range(3):
                    explorer._on_message({"do": "attack-step"})

    monkeypatch.setattr(module, "measure", moving)
    explorer.observe(lambda change: walks == [0.4] and change.new["phase"] == "settled" and order_ahead(explorer),
                     "live")  # fmt: skip
    turn(explorer, lam=0.4, eps=1.0)
    explorer.flush()
    assert walks[:2] == [0.4, 0.45] and explorer.live["phase"] == "walk" and explorer.error == ""
    assert explorer.live["key"][1] == 0.9, "not the setting that was refined"
    explorer.pace = "run"
    assert settled(explorer)["key"][1] == 0.9 and explorer.live["n"] == 48


def test_a_dial_that_no_measurement_depends_on_changes_no_number(explorer, nets):
    settled(explorer)
    sent = frames_of(explorer)
    turn(explorer, min_clean=0.5)
    assert agrees(explorer, nets) and sent == []


def test_the_curve_is_measured_meanwhile_and_is_what_measure_says(nets):
    made = oatlib.explore(nets, DATA, lam=0.5, width=0.5)
    made.flush()
    grid = made.grids["oats"]
    assert not grid.missing(0.5, 8.0) and grid.missing(0.5, 4.0)
    assert made.surfaces["oats"] == grid.table()
    at = grid.lams.index(1.0)
    *_, last = measure(nets["oats"], PANEL, 1.0, 0.5, oatlib.Suite(8 / 255, budget="quick"))
    assert (grid.clean[0][at], grid.robust["quick"][0][EPS.index(8.0)][at]) == (last["clean"], last["robust"])
    made.close()


def test_paused_nothing_is_measured_until_a_step_is_asked_for(explorer):
    settled(explorer)
    explorer.pace = "pause"
    turn(explorer, lam=0.9, eps=1.0)
    explorer.flush()
    assert explorer.live["key"][1] != 0.9
    steps = []
    for _ in range(4):
        explorer._on_message({"do": "attack-step"})
        explorer.flush()
        steps.append((explorer.live["key"][1], explorer.live["step"]))
    assert steps == [(0.9, -1), (0.9, 0), (0.9, 1), (0.9, 2)]
    explorer.pace = "run"
    assert settled(explorer)["phase"] == "settled"


def test_paused_a_walk_begins_at_its_beginning_also_where_the_end_is_known(explorer):
    settled(explorer)
    explorer._on_message({"do": "prefetch", "lam": 0.9})
    explorer.flush()
    explorer.pace = "pause"
    turn(explorer, lam=0.9)
    explorer._on_message({"do": "attack-step"})
    explorer.flush()
    assert (explorer.live["key"][1], explorer.live["step"]) == (0.9, -1)


def test_closed_in_the_middle_of_what_is_ahead_it_leaves_no_thread(nets, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(module.Surface, "fill", lambda *_: iter(()))
    made = oatlib.explore(nets, DATA, eps=1.0)
    made.flush()
    there = threading.Event()
    walk = made._cache._measure

    def held(state):
        for frame in walk(state):
            yield frame
            if frame["step"] == 3:
                there.set()
                made._worker._closed.wait(10)

    monkeypatch.setattr(made._cache, "_measure", held)
    made._on_message({"do": "prefetch", "lam": 0.9})
    assert there.wait(30) and any(t.name.startswith(HELPER) for t in threads())
    made.close()
    assert not threads()


def test_closed_while_paused_in_the_middle_of_a_walk_it_leaves_no_thread(nets, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    made = oatlib.explore(nets, DATA, eps=1.0)
    made.pace = "pause"
    made.flush()
    for _ in range(3):
        made._on_message({"do": "attack-step"})
        made.flush()

    assert made.live["phase"] == "walk" and len(threads()) == 2, "the worker has ended, its helpers wait"
    made.close()
    assert not threads()


def test_an_error_is_shown_and_gone_with_the_next_move(explorer, nets, monkeypatch):
    settled(explorer)

    def broken(*_):
        raise RuntimeError("out of memory, say")

    with monkeypatch.context() as patch:
        patch.setattr(module, "measure", broken)
        turn(explorer, lam=0.11)
        explorer.flush()
        assert explorer.error == "RuntimeError: out of memory, say"
    turn(explorer, lam=0.12)
    assert agrees(explorer, nets) and explorer.error == ""


def test_an_order_that_is_none_is_shown(explorer):
    explorer._on_message({"do": "dance"})
    assert "dance" in explorer.error
    explorer._on_message("nonsense")
    assert explorer.error


def test_the_state_is_a_string_that_moves_the_dials(explorer, nets):
    explorer.state = "lam=0.8&width=0.75&eps=4"
    assert agrees(explorer, nets)
    copied = explorer.state
    explorer.state = {"network": "float", "lam": 0.0}
    explorer.state = copied
    assert explorer.state == copied and agrees(explorer, nets)
    with pytest.raises(ValueError, match="lam must lie in"):
        explorer.state = "lam=2"
    assert explorer.state == copied


def test_settings_are_arguments_too(nets):
    made = oatlib.explore(nets, DATA, "eps=2", lam=0.25, hide=["training", "state"])
    assert (
        made.controls["lam"] == 0.25 and made.controls["eps"] == 2 and made.description["hide"] == ["training", "state"]
    )
    made.close()


def test_networks_may_come_alone_or_in_a_list(nets):
    for given, names in [(nets["oats"], ["oats"]), ([nets["oats"], nets["oats"]], ["oats", "oats 2"])]:
        made = oatlib.explore(given, DATA, n=8)
        assert list(made.nets) == names and made.description["n"] == 8
        made.close()


def test_what_the_browser_gets_is_plain_json_without_nan(explorer):
    explorer.flush()
    for trait in ("description", "controls", "surfaces", "live", "training"):
        json.dumps(getattr(explorer, trait), allow_nan=False)
    price = explorer.description["networks"]["oats"]["prices"][0]
    cost = oatlib.cost(explorer.nets["oats"], 1.0, 0.5)
    assert price == {"parameters": cost.plain, "macs": cost.macs}


def test_each_network_is_in_one_group_by_what_it_is():
    recipes = ("oat", "oats", "floats", "smart", "us-snn", "standard", "trades")
    networks = {name: oatlib.build(name, DATA) for name in recipes}
    networks["oats, trained here 1"] = networks["oats"]
    told = description.describe(networks, DATA, PANEL, PANEL.y[:0])
    assert told["groups"] == {
        "a dial of λ": ["oat"],
        "dials of λ and width": ["oats"],
        "noisy or sparse": ["floats", "smart"],
        "a dial of width": ["us-snn"],
        "one fixed λ": ["standard", "trades"],
        "trained here": ["oats, trained here 1"],
    }
    assert told["networks"]["oats, trained here 1"]["about"].startswith("oat at several widths")
    assert list(description.describe({"a": networks["oat"]}, DATA, PANEL, PANEL.y[:0])["groups"]) == ["a dial of λ"]


def test_the_gallery_has_one_image_of_each_class_first():
    chosen = description.one_of_each_class(DATA.val)
    assert len(chosen) == description.WATCHED and len(set(DATA.val.y[chosen].tolist())) == description.WATCHED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(hide=["slider"]), "cannot hide 'slider': the parts are network, lam"),
        (dict(state="width=.3"), "its widths are 0.5, 0.75, 1"),
        (dict(lamda=1), "did you mean 'lam'"),
        (dict(n=0), "panel(0)"),
    ],
)
def test_bad_arguments_say_what_is_valid(nets, arguments, words):
    with pytest.raises(ValueError) as error:
        oatlib.explore(nets, DATA, **arguments)
    assert words in str(error.value)


def test_only_networks_and_fitting_data_can_be_explored(nets):
    with pytest.raises(TypeError, match="network of oatlib"):
        oatlib.explore(torch.nn.Linear(2, 2), DATA)
    with pytest.raises(TypeError, match="network of oatlib"):
        oatlib.explore([], DATA)
    with pytest.raises(ValueError, match=r"'oats' takes images \(3, 16, 16\) of 8 classes; the data has \(1, 8, 8\)"):
        oatlib.explore(nets, oatlib.load_data("digits"))


def test_captions_give_the_class_and_the_shape_that_is_drawn(explorer):
    truth = DATA.val.panel(48)
    for text, i in zip(explorer.description["captions"], explorer.watched.tolist(), strict=True):
        label, shape = truth.y[i], truth.facts["shape"][i]
        lies = ", lies" if shape != label else ""
        assert text == f"class: {DATA.classes[label]} · drawn: {SHAPES[shape]}{lies}"
    lies = (truth.facts["shape"] != truth.y).nonzero()[:, 0]
    (line,) = description.captions(DATA, truth, lies[:1].tolist())
    assert len(set(re.findall(r": (\w+)", line))) == 2, "here the shape is not that of the class"
    assert line.endswith(", lies")
    (honest,) = description.captions(DATA, truth, (truth.facts["shape"] == truth.y).nonzero()[0].tolist())
    assert "lies" not in honest
    digits = oatlib.load_data("digits", n_train=20, n_val=10, n_test=10)
    assert description.captions(digits, digits.val, [0]) == [f"class: {digits.val.y[0]}"]


def test_the_hint_and_the_best_frontier_come_from_the_numbers_of_the_world():
    data = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8, trust=0.3, full_trust=0.5)
    assert "right in 30% of the images, the more vivid 50% always" in description.hint(data)
    points = oatlib.best_frontier([i / 100 for i in range(101)], trust=0.3, full_trust=0.5)
    assert description._reference(data)["best"] == [[point.clean, point.robust] for point in points]
    flat = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8, trust=0.8, full_trust=None)
    assert description.hint(flat).startswith("20% of the drawn shapes belong to another class")
    digits = oatlib.load_data("digits", n_train=20, n_val=10, n_test=10)
    assert description.hint(digits) == "" and description._reference(digits) == {}


def test_the_network_stays_as_it_was(explorer, nets):
    before = {name: tensor.clone() for name, tensor in nets["oats"].state_dict().items()}
    settled(explorer)
    after = nets["oats"].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) and not nets["oats"].training


# --- training ---


def order(explorer, what, **more):
    explorer._on_message({"do": what, **more})
    explorer.flush()
    return explorer.training


def test_a_training_gives_the_bits_of_train_and_joins_the_list(explorer, monkeypatch):
    training = order(explorer, "train", recipe="blend", epochs=2)
    assert training["status"] == "finished" and training["done"] == training["of"] == 2
    assert training["name"] in explorer.nets and training["name"] in explorer.description["networks"]
    assert training["name"] in explorer.surfaces
    reference = oatlib.build("blend", DATA)
    oatlib.train(reference, DATA, epochs=2, progress=False)
    mine = explorer.nets[training["name"]].state_dict()
    assert all(torch.equal(tensor, mine[name]) for name, tensor in reference.state_dict().items())
    turn(explorer, network=training["name"], lam=1.0)
    assert agrees(explorer, explorer.nets)


def test_a_training_is_paused_stepped_resumed_and_stopped(explorer):
    explorer._on_message({"do": "train", "recipe": "standard", "epochs": 40})
    explorer._on_message({"do": "train-pause"})
    explorer.flush()
    at = explorer.training["done"]
    assert explorer.training["status"] == "paused" and at < explorer.training["of"]
    for more in (1, 2):
        training = order(explorer, "train-step")
        assert (training["done"], training["status"]) == (at + more, "paused")
    explorer._on_message({"do": "train-resume"})
    training = order(explorer, "train-stop")
    assert training["status"] == "interrupted" and training["done"] < training["of"]
    assert explorer.nets[training["name"]].trained[0]["status"] == "interrupted"
    assert explorer.error == ""


@pytest.mark.parametrize("late", ["train-pause", "train-stop"])
def test_an_order_that_comes_during_the_last_step_changes_nothing(explorer, late):
    report = explorer._on_training

    def told(training):
        if training["status"] == "finished":
            assert explorer.training["status"] == "running"
            explorer._on_message({"do": late})
        report(training)

    explorer._on_training = told
    training = order(explorer, "train", recipe="standard", epochs=1)
    assert training["status"] == "finished" and training["name"] in explorer.nets and explorer.error == ""


def test_the_frontier_grows_while_training(explorer):
    frontiers = order(explorer, "train", recipe="oat", epochs=2)["frontiers"]
    assert [f["done"] for f in frontiers] == [1, 2]
    assert [p["lam"] for p in frontiers[0]["points"]] == list(oatlib.build("oat", DATA).spec.stops)
    assert all(0 <= p["robust"] <= p["clean"] <= 1 for f in frontiers for p in f["points"])


def test_the_dials_answer_while_a_training_runs(explorer, nets):
    explorer._on_message({"do": "train", "recipe": "oat", "epochs": 64})
    turn(explorer, lam=0.2, network="oats")
    expected = direct(nets, explorer.controls)
    while explorer.live.get("key") != expected["key"] or explorer.live["phase"] != "settled":
        assert explorer.training["status"] == "running"
    assert explorer.live["robust"] == expected["robust"]
    order(explorer, "train-stop")


def test_orders_that_make_no_sense_are_shown(explorer):
    explorer._on_message({"do": "train-resume"})
    assert "there is no training to resume" in explorer.error
    explorer._on_message({"do": "train", "recipe": "oat", "epochs": 0})
    assert "from 1 to 64" in explorer.error
    explorer._on_message({"do": "train", "recipe": "oak"})
    assert "unknown recipe 'oak'" in explorer.error
    explorer._on_message({"do": "train", "recipe": "oat", "epochs": 64})
    explorer._on_message({"do": "train", "recipe": "oat"})
    assert "a training is already running or paused" in explorer.error
    order(explorer, "train-stop")
    order(explorer, "train-pause")
    assert explorer.training["status"] == "interrupted", "nothing to pause any more"
