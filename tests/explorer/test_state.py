"""Where the dials stand, as a value and as a string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oatlib
from oatlib.explorer.named_attacks import CHOICES
from oatlib.explorer.state import State, read

DATA = oatlib.load_data("shapes", n_train=8, n_val=8, n_test=8)
NETS = {
    "oats": oatlib.build("oats", DATA),
    "a net, with & signs": oatlib.build("blend", DATA),
    "pgd-at": oatlib.build("pgd-at", DATA, lam=0.3),
}
SHARES = st.floats(0, 1)
STATES = st.builds(
    State, st.just("oats"), SHARES, st.sampled_from([0.5, 0.75, 1.0]), st.floats(0, 16), st.sampled_from(CHOICES),
    SHARES, SHARES, st.sampled_from([(), ("pgd-at",), ("pgd-at", "oats")]),
)  # fmt: skip


@given(STATES)
def test_the_string_gives_the_state_back(state):
    assert read(str(state), NETS) == state
    assert read("#" + str(state), NETS) == read(state, NETS) == state


def test_a_name_with_odd_signs_survives_the_string():
    state = read({"network": "a net, with & signs", "lam": 0.5}, NETS)
    assert read(str(state), NETS) == state


def test_what_is_not_named_stays_as_it_was():
    start = State("oats", 0.3, 0.75, 4.0, "pgd-10")
    assert read("eps=2", NETS, start) == State("oats", 0.3, 0.75, 2.0, "pgd-10")
    assert read(None, NETS, start) == read("", NETS, start) == read({}, NETS, start) == start


def test_another_network_takes_over_what_it_has():
    start = State("oats", 0.9, 0.5)
    moved = read("network=pgd-at", NETS, start)
    assert (moved.lam, moved.width) == (0.3, 1.0)


def test_numbers_may_come_as_words_and_whole_numbers():
    state = read({"lam": "0.25", "steps": "10", "eps": 4}, NETS)
    assert (state.lam, state.attack, state.eps) == (0.25, "pgd-10", 4.0)


def test_a_state_of_an_earlier_version_means_pgd_and_none_means_the_quick_suite():
    assert read("network=oats&lam=0.3&width=0.75&eps=8&steps=20", NETS).attack == "pgd-20"
    assert read("network=oats&lam=0.3", NETS).attack == "quick"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("lam=1.5", "lam must lie in [0, 1] for 'oats', got 1.5"),
        ("network=pgd-at&lam=0.5", "lam must lie in [0.3, 0.3]"),
        ({"lam": float("nan")}, "lam must lie in"),
        ("lam=nan", "lam must be a number, got 'nan'"),
        ({"lam": 10**400}, "lam must be a number"),
        ("lam=much", "lam must be a number, got 'much'"),
        ("width=0.6", "its widths are 0.5, 0.75, 1"),
        ("eps=17", "eps must lie in [0, 16], in units of 1/255, got 17"),
        ({"eps": float("nan")}, "eps must lie in [0, 16]"),
        ("steps=7", "steps must be one of 1, 2, 5, 10, 20, 50, got 7"),
        ("steps=20&attack=quick", "a state has either steps or attack, not both"),
        ("attack=pgd-7", "attack must be one of quick, pgd-1, pgd-2, pgd-5, pgd-10, pgd-20, pgd-50, got 'pgd-7'"),
        ("attack=suite", "attack must be one of quick"),
        ("min_clean=2", "min_clean must lie in [0, 1], got 2"),
        ("network=oast", "unknown network 'oast' (did you mean 'oats'?); the networks are oats"),
        ("compare=oats,none", "unknown network 'none'"),
        ("lamda=1", "unknown key 'lamda' in a state (did you mean 'lam'?); the keys are network"),
        ("lam", "a state is written as lam=0.3&width=0.5, got 'lam'"),
    ],
)
def test_bad_states_say_what_is_valid(given, words):
    with pytest.raises(ValueError) as error:
        read(given, NETS)
    assert words in str(error.value)


def test_long_texts_are_shortened_in_messages_and_take_no_time():
    long = "x" * 1_000_000
    for text in (f"network={long}", f"compare={long}", f"{long}=1", f"lam={long}", f"attack={long}", long):
        with pytest.raises(ValueError) as error:
            read(text, NETS)
        assert "x" * 60 in str(error.value) and len(str(error.value)) < 300


def test_a_network_is_compared_once_however_often_it_is_named():
    assert read("compare=" + "oats,pgd-at," * 10_000, NETS).compare == ("oats", "pgd-at")


def test_a_network_that_a_page_has_trained_is_said_to_have_ended_with_it():
    for state in ("network=oat,+trained+here+1", {"compare": ["oat, trained here 1"]}):
        with pytest.raises(ValueError, match="“oat, trained here 1” lived only in the last page: train it again, or"):
            read(state, NETS)
    with pytest.raises(ValueError, match="unknown network 'oat, trained here'"):
        read("network=oat,+trained+here", NETS)
