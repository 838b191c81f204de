"""Typical wrong answers to the exercises of lesson 09, and what the learner is told."""

MASK = """def magnitude_mask(weight, density):
    kept = max(1, round(density * weight.numel()))
    order = weight.abs().flatten().argsort(descending=True)
    mask = torch.zeros(weight.numel(), dtype=torch.bool)
    mask[order[:kept]] = True
    return mask.view(weight.shape)
"""
DROP = """def drop_smallest(weight, keep, rate):
    kept = int(keep.sum())
    number = min(math.ceil(rate * kept), kept - 1)
    sizes = weight.abs().masked_fill(~keep, math.inf).flatten()
    new = keep.clone().flatten()
    new[sizes.argsort()[:number]] = False
    return new.view(keep.shape)
"""
GROW = """def grow_pushed(keep, momentum, number):
    pushed = momentum.abs().masked_fill(keep, -1.0).flatten()
    new = keep.clone().flatten()
    new[pushed.argsort(descending=True)[:number]] = True
    return new.view(keep.shape)
"""
REWIRING = """from oatlib.training.rewire import allocate

class Rewiring:
    def __init__(self, weights, masks):
        self.weights = weights
        self.masks = masks
        self.clear()

    def clear(self):
        with torch.no_grad():
            for weight, mask in zip(self.weights, self.masks):
                weight.mul_(mask)

    def kept(self):
        return sum(int(mask.sum()) for mask in self.masks)

    def rewire(self, momenta, rate):
        before = self.kept()
        self.masks = [drop_smallest(weight, mask, rate) for weight, mask in zip(self.weights, self.masks)]
        self.clear()
        shares, room = [], []
        for momentum, mask in zip(momenta, self.masks):
            shares.append(momentum.abs()[mask].mean().item())
            room.append(int(0.99 * (~mask).sum()))
        numbers = allocate(before - self.kept(), shares, room)
        layers = zip(self.masks, momenta, numbers)
        self.masks = [grow_pushed(mask, momentum, number) for mask, momentum, number in layers]
"""
SHRINK = """from types import SimpleNamespace
from oatlib.course import sparse
from oatlib.data.splits import Split

def shrink(net, x, y):
"""
CUT = """    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data.mul_(magnitude_mask(part.weight.detach(), 0.1))
"""


def changed(code, old, new):
    """A solution with one mistake."""
    assert code.count(old) == 1, old
    return code.replace(old, new)


WRONG = {
    "magnitude_mask": [
        (changed(MASK, "weight.abs()", "weight"), "most positive"),
        (changed(MASK, "descending=True", "descending=False"), "smallest weights"),
        (changed(MASK, "max(1, round(density * weight.numel()))", "int(density * weight.numel()) + 2"), "round"),
        (changed(MASK, "max(1, round(density * weight.numel()))", "round(density * weight.numel())"), "at least one"),
        (changed(MASK, ", dtype=torch.bool", ""), "torch.bool"),
        (
            "def magnitude_mask(weight, density):\n    sizes = weight.abs()\n"
            "    least = sizes.flatten().sort(descending=True).values[max(1, round(density * sizes.numel())) - 1]\n"
            "    return sizes >= least",
            "threshold",
        ),
    ],
    "drop_smallest": [
        (changed(DROP, "weight.abs()", "weight"), "most negative"),
        (changed(DROP, "argsort()", "nan_to_num(posinf=-1.0).argsort(descending=True)"), "drops the largest"),
        (changed(DROP, ".masked_fill(~keep, math.inf)", ".mul(keep)"), "drops nothing"),
        (changed(DROP, "math.ceil(rate * kept)", "int(rate * kept)"), "ceil"),
        (changed(DROP, "min(math.ceil(rate * kept), kept - 1)", "math.ceil(rate * kept)"), "keep at least one"),
        (changed(DROP, "keep.clone().flatten()", "keep.view(-1)"), "mask that it was given"),
    ],
    "grow_pushed": [
        (changed(GROW, "momentum.abs()", "momentum").replace("-1.0", "-math.inf"), "most positive"),
        (changed(GROW, ".masked_fill(keep, -1.0)", ""), "cannot grow again"),
        (changed(GROW, "keep.clone().flatten()", "torch.zeros(keep.numel(), dtype=torch.bool)"), "grows only"),
        (changed(GROW, "keep.clone().flatten()", "keep.view(-1)"), "mask that it was given"),
        (changed(GROW, "descending=True", "descending=False").replace("-1.0", "math.inf"), "with the largest"),
    ],
    "Rewiring": [
        (
            changed(REWIRING, "        self.masks = masks\n        self.clear()", "        self.masks = masks"),
            "at the start",
        ),
        (changed(REWIRING, "weight.mul_(mask)", "weight = weight * mask"), "in place"),
        (
            changed(REWIRING, "allocate(before - self.kept(), shares, room)", "[0] * len(room)"),
            "as many must grow as go",
        ),
        (
            changed(
                REWIRING,
                "allocate(before - self.kept(), shares, room)",
                "[int(n) - int(m.sum()) for n, m in zip(self.first, self.masks)]",
            ).replace(
                "        before = self.kept()",
                "        before = self.kept()\n        self.first = [m.sum() for m in self.masks]",
            ),
            "as many weights as before",
        ),
        (changed(REWIRING, "momentum.abs()[mask].mean()", "momentum.abs().sum()"), "shares are the mean"),
        (
            changed(
                REWIRING,
                "in zip(self.weights, self.masks)]\n        self.clear()",
                "in zip(self.weights, self.masks)]",
            ),
            "between the drop and the growth",
        ),
    ],
    "shrink": [
        (SHRINK + "    return net", "are not zero"),
        (SHRINK + "    return net.at(1.0)", "should return the network"),
        (SHRINK + CUT + "    return net", "Clean accuracy should be"),
        (
            SHRINK + CUT + "    return sparse.recalibrated(net, SimpleNamespace(train=Split(x, y, 'train')))",
            r"right on 9\d%",
        ),
        (SHRINK + "    return oatlib.build('standard', oatlib.load_data('digits', seed=0))", "other shapes"),
    ],
}
