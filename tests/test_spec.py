"""`Spec` is the only place that checks the options of a network, wherever they come from."""

from dataclasses import asdict, fields
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oatlib.layers.unit import UnitOptions
from oatlib.networks.lambdas import RULES
from oatlib.networks.spec import Spec, spec_from
from oatlib.training.losses import TRAINING_LOSSES

GOOD = dict(recipe="x", backbone="tiny", shape=(3, 8, 8), classes=("a", "b"), stops=(0.0, 1.0))
HINTS = get_type_hints(Spec)
WORDS = {name: get_args(hint) for name, hint in HINTS.items() if get_origin(hint) is Literal}


def test_every_field_has_a_type_that_is_checked():
    assert set(HINTS) == {f.name for f in fields(Spec)} >= {f.name for f in fields(UnitOptions)}
    texts = {name for name, hint in HINTS.items() if hint is str}
    assert texts == {"recipe", "backbone"}, "the words of any other option are part of its type"


@pytest.mark.parametrize("name", WORDS)
@given(word=st.one_of(st.text(max_size=8), st.none(), st.integers(), st.booleans(), st.lists(st.text(), max_size=2)))
def test_a_word_that_is_not_one_of_the_words_of_its_field_is_refused(name, word):
    if word not in WORDS[name]:
        with pytest.raises(ValueError, match=rf"{name} .*one of {WORDS[name][0]}"):
            Spec(**GOOD | {name: word})


@pytest.mark.parametrize("name", sorted(set(HINTS) - set(WORDS)))
@pytest.mark.parametrize("value", [None, 3 + 4j, float("nan"), float("inf"), [1], b"x"])
def test_a_value_of_the_wrong_type_is_refused_by_the_name_of_its_field(name, value):
    with pytest.raises(ValueError, match=name):
        Spec(**GOOD | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", (1, 2)),
        ("stops", ("a",)),
        ("widths", ("1",)),
        ("shape", (3, 8.5, 8)),
        ("density", True),
        ("code_dim", True),
    ],
)
def test_the_entries_of_a_list_are_checked_and_true_is_no_number(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        Spec(**GOOD | {name: value})


def test_the_words_are_those_that_the_other_packages_know():
    assert set(WORDS["loss"]) == set(TRAINING_LOSSES)
    assert set(WORDS["dial"]) == set(RULES)


@pytest.mark.parametrize("loss", TRAINING_LOSSES)
def test_a_loss_of_two_kinds_of_images_needs_the_stops_0_and_1(loss):
    three = GOOD | {"loss": loss, "stops": (0.0, 0.5, 1.0)}
    if loss in ("hybrid", "sampled", "distill"):
        assert Spec(**three).loss == loss
        return
    with pytest.raises(ValueError, match=f"the loss '{loss}' .*not 0, 0.5, 1"):
        Spec(**three)


def test_a_file_of_format_2_names_the_widths_of_a_step_differently():
    widths = dict(widths=(0.5, 1.0), norm_sharing="affine", width_sampling="sandwich", stops=(0.0,))
    spec = Spec(**GOOD | widths)
    saved = asdict(spec)
    saved["draw"] = saved.pop("width_sampling")
    assert spec_from(saved) == spec
    saved["dial"] = "blend"  # format 1
    assert spec_from(saved) == spec


def test_units_get_their_options_from_the_spec():
    spec = Spec(**GOOD, dual=True, noise=True, film=True, codes="onehot", code_dim=7)
    options = spec.unit_options(code_dim=2)
    assert type(options) is UnitOptions and options == UnitOptions(dual=True, noise=True, film=True, code_dim=2)
