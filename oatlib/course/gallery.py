"""The break-it gallery of lesson 10b: models under neutral names, a budget of attacks, and a score.

Some models are honest, others are frauds. Players spend a budget on attacks, vote on every model,
and then see what each of them was. All attacks were run beforehand, see `measured_gallery` in
`two_opinions.py`, so the answers come at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import ipywidgets

from ..evaluation.results import wilson

VOTES = ("no vote", "honest", "fraud")
BUDGET = 10
AT_LEFT = {"width": "auto", "align_self": "flex-start"}


class Gallery(ipywidgets.VBox):
    """Models to attack and to vote on.

    Args:
        record: n, and under "models" one dict per model: letter, name, honest, clean,
            claim, robust and found (accuracy under each attack, by its name).
        budget: Number of attacks that a player may run.

    Attributes:
        model: The control that chooses a model.
        attack: The control that chooses an attack.
        run: The button that runs the attack.
        votes: The controls of the votes, by letter.
        reveal: The button that shows the score.
        left: Number of attacks that are left.
    """

    def __init__(self, record: Mapping, budget: int = BUDGET):
        self.models = {model["letter"]: model for model in record["models"]}
        self.n, self.left = record["n"], budget
        self._log: list[str] = []
        self._closed = False
        attacks = list(next(iter(self.models.values()))["found"])
        self.model = _choice("model", self.models)
        self.attack = _choice("attack", attacks)
        self.run = ipywidgets.Button(description="run it", layout=AT_LEFT)
        self.reveal = ipywidgets.Button(description="show the score", layout=AT_LEFT)
        self.votes = {letter: _choice(letter, VOTES) for letter in self.models}
        self.claims, self.notes, self.score = (ipywidgets.HTML() for _ in range(3))
        self.claims.value = self._claims()
        self.run.on_click(lambda _: self._run())
        self.reveal.on_click(lambda _: self._reveal())
        ballot = ipywidgets.HBox(list(self.votes.values()), layout={"flex_flow": "row wrap"})
        super().__init__(
            [
                self.claims,
                self.model,
                self.attack,
                self.run,
                self.notes,
                ballot,
                self.reveal,
                self.score,
            ]
        )
        self._write()

    @property
    def points(self) -> int:
        """One point for every right vote, minus one for every wrong one."""
        return sum(self._point(letter) for letter in self.models)

    def _point(self, letter: str) -> int:
        vote = self.votes[letter].value
        if vote == VOTES[0]:
            return 0
        return 1 if (vote == "honest") == self.models[letter]["honest"] else -1

    def _run(self) -> None:
        if self.left == 0 or self._closed:
            return
        model = self.models[self.model.value]
        share = model["found"][self.attack.value]
        line = f"{self.model.value}, {self.attack.value}: {self._interval(share)} right"
        if line not in self._log:  # the same attack again would tell nothing new
            self._log.append(line)
            self.left -= 1
        self._write()

    def _write(self) -> None:
        """Show what was found, and how many attacks are left."""
        lines = "".join(f"<li>{escape(line)}</li>" for line in self._log)
        self.notes.value = f"<b>{self.left} attacks left.</b><ul>{lines}</ul>"
        self.run.disabled = self.left == 0 or self._closed

    def _reveal(self) -> None:
        """Show the score, and close the game."""
        self._closed = True
        for control in (*self.votes.values(), self.run, self.reveal):
            control.disabled = True
        rows = "".join(
            f"<tr><td>{letter}</td><td>{escape(model['name'])}</td>"
            f"<td>{'honest' if model['honest'] else 'fraud'}</td>"
            f"<td>{self.votes[letter].value}</td><td>{self._interval(model['robust'])}</td></tr>"
            for letter, model in self.models.items()
        )
        self.score.value = (
            f"<b>{self.points} of {len(self.models)} points.</b>"
            "<table><tr><th>model</th><th>what it is</th><th>truth</th><th>your vote</th>"
            f"<th>left by the best known attack</th></tr>{rows}</table>"
        )

    def _claims(self) -> str:
        rows = "".join(
            f"<tr><td><b>{letter}</b></td>"
            f"<td>{self._interval(model['clean'])}</td><td>{self._interval(model['claim'])}</td></tr>"
            for letter, model in self.models.items()
        )
        return (
            "<table><tr><th>model</th><th>clean accuracy</th><th>claimed, by PGD-20</th></tr>"
            f"{rows}</table>n = {self.n} images, 95 % intervals"
        )

    def _interval(self, share: float) -> str:
        low, high = wilson(round(share * self.n), self.n)
        return f"{share:.0%} ({low:.0%} to {high:.0%})"


def _choice(name: str, options) -> ipywidgets.ToggleButtons:
    return ipywidgets.ToggleButtons(
        options=list(options),
        description=name,
        style={"description_width": "initial", "button_width": "auto"},
    )
