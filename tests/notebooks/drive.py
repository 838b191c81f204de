"""What hands do with a lesson's controls. The text of this file is the last cell of a lesson that is driven."""

import atexit
import gc
import os
import time

from oatlib.course.gallery import Gallery
from oatlib.course.lesson import Guess
from oatlib.course.sliders import Sliders
from oatlib.explorer.named_attacks import CHOICES
from oatlib.explorer.state import MAX_EPS
from oatlib.explorer.widget import Explorer

LONG = 300  # seconds for one position


def positions(control):
    """[(trait, value)] of one control: every choice, or both ends and the middle."""
    if hasattr(control, "options"):
        return [("index", index) for index in range(len(control.options))]
    if isinstance(control.value, bool):
        return [("value", False), ("value", True)]
    middle = control.min + round((control.max - control.min) / control.step / 2) * control.step
    return [("value", control.min), ("value", middle), ("value", control.max)]


def drive_sliders(drawn):
    """Each control alone to all of its places, then all together; then the buttons. Yields what went wrong, or ""."""
    places = {name: positions(control) for name, control in drawn.controls.items()}
    starts = {name: (places[name][0][0], getattr(drawn.controls[name], places[name][0][0])) for name in places}
    moves = [{name: place} for name in places for place in places[name]]
    moves = [starts | move for move in moves] + [{name: places[name][end] for name in places} for end in (0, -1)]
    for move in moves:
        for name, (trait, value) in move.items():
            setattr(drawn.controls[name], trait, value)
        drawn.flush(LONG)
        yield drawn.error and f"{drawn.error} at {drawn.values}"
    for name, button in drawn.buttons.items():
        button.click()
        drawn.flush(LONG)
        yield drawn.error and f"{drawn.error} at button {name!r}"
    for name, toggle in drawn.play.items():
        fault = _play(drawn, toggle)
        yield fault and f"{fault} at play button {name!r}"


def _play(drawn, toggle, frames=3):
    """Let a play button draw some frames, switch it off, and look whether it ends; what went wrong, or ""."""
    wanted, end = drawn.frames + frames, time.monotonic() + LONG
    toggle.value = True
    while drawn.frames < wanted and not drawn.error and time.monotonic() < end:
        time.sleep(0.05)
    toggle.value = False
    drawn.flush(LONG)
    late = "" if drawn.frames >= wanted else f"{drawn.frames} frames, {wanted} wanted"
    return drawn.error or late


def drive_explorer(explorer):
    """Every network, then the ends of all dials that are not hidden; for what is measured in idle time nobody waits."""
    hidden, states = explorer.description["hide"], []
    if "network" not in hidden:
        states += [{"network": name} for name in explorer.nets]
    spec = explorer.nets[next(reversed(explorer.nets))].spec
    states += [] if "lam" in hidden else [{"lam": lam} for lam in (spec.stops[0], spec.stops[-1])]
    states += [] if "width" in hidden else [{"width": width} for width in spec.widths]
    states += [] if "eps" in hidden else [{"eps": eps} for eps in (0.0, MAX_EPS)]
    states += [] if "attack" in hidden else [{"attack": attack} for attack in (CHOICES[0], CHOICES[-1])]
    for state in states:
        explorer.state = state
        error = _measured(explorer)
        yield error and f"{error} at {explorer.state}"
    explorer.halt()


def _measured(explorer):
    """Wait for the exact numbers; what went wrong, or ""."""
    end, due = time.monotonic() + LONG, [explorer.controls[key] for key in ("network", "lam", "width", "eps", "attack")]
    while explorer.live.get("key") != due or explorer.live.get("phase") != "settled":
        if explorer.error or time.monotonic() > end:
            return explorer.error or f"nothing measured within {LONG} s"
        time.sleep(0.01)
    return explorer.error


def drive_guess(guess):
    """Keep a guess, and look whether the answer shows it."""
    if hasattr(guess.control, "options"):
        guess.control.index = len(guess.control.options) - 1
    guess.button.click()
    shown = [html.value for html, *_ in guess._shown]
    lost = not shown or any("Your guess" not in text for text in shown)
    yield f"{guess.question!r}: kept {guess.value}, shown {shown}" if guess.value is None or lost else ""


def drive_gallery(gallery):
    """Every attack on every model until the budget is spent, all votes, then the score."""
    budget = gallery.left
    for letter in gallery.models:
        gallery.model.value = letter
        for attack in gallery.attack.options:
            gallery.attack.value = attack
            gallery.run.click()
    spent = gallery.left == 0 and gallery.run.disabled and gallery.notes.value.count("<li>") == budget
    yield "" if spent else f"the budget is not spent: {gallery.left} of {budget} left"
    for letter, vote in gallery.votes.items():
        vote.value = "honest" if gallery.models[letter]["honest"] else "fraud"
    gallery.reveal.click()
    perfect = f"{len(gallery.models)} of {len(gallery.models)} points"
    yield "" if perfect in gallery.score.value else f"right votes score {gallery.score.value}"


KINDS = {Sliders: drive_sliders, Explorer: drive_explorer, Guess: drive_guess, Gallery: drive_gallery}


def drive():
    """Everything alive in this kernel; raises AssertionError with all that went wrong."""
    living = [(thing, kind) for kind in KINDS for thing in gc.get_objects() if isinstance(thing, kind)]
    wrong, done = [], []
    for thing, kind in living:
        found = list(KINDS[kind](thing))
        wrong += [f"{kind.__name__}: {fault}" for fault in found if fault]
        done.append(f"{kind.__name__} in {len(found)} positions")
    assert not wrong, "\n".join(wrong)
    print("driven:", ", ".join(done))


if __name__ == "__main__":  # a cell is
    drive()
    atexit.register(os._exit, 0)  # to take down all modules, one by one, takes Python longer than a second
