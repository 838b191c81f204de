"""Temporary stand-in for the Suite with budgets."""
from dataclasses import dataclass
from ..apgd import APGD
from ..square import Square

@dataclass(frozen=True)
class Suite:
    eps: float
    budget: str = "quick"
    def attacks(self):
        if self.budget == "quick":
            return APGD(self.eps, steps=10), APGD(self.eps, steps=10, targets=3)
        return APGD(self.eps, steps=100), APGD(self.eps, steps=50, targets=5), Square(self.eps, 500)
    def describe(self):
        return {"name": "suite", "budget": self.budget, "members": [m.describe() for m in self.attacks()]}
    @property
    def most_yields(self):
        return 1 + sum((m.steps + 1) * max(1, getattr(m, "targets", 0)) for m in self.attacks())
    def survivors(self, f, x, y, generator=None):
        import torch
        index = None
        for k, m in enumerate(self.attacks()):
            for j, (at, xa, lo) in enumerate(m.survivors(f, x if index is None else x[index], y if index is None else y[index], generator)):
                g = at if index is None else index[at]
                if k == 0 or j:
                    yield g, xa, lo
                keep = lo.argmax(1) == y[g]
                left = g[keep]
            index = left
            if not len(index):
                return
