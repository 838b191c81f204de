"""Typical wrong answers to the exercises of lesson A, and what the learner is told."""


def fold(scale, shift):
    return f"""
def fold_film(mean, var, weight, bias, gamma, beta, eps=1e-5):
    s = weight / (var + eps).sqrt()
    return {scale}, {shift}
"""


def weights(lines):
    return f"""
def stop_weights(lam, stops):
    out = torch.zeros(len(stops))
    i = min(sum(s <= lam + 1e-9 for s in stops), len(stops) - 1)
    t = (lam - stops[i - 1]) / (stops[i] - stops[i - 1])
    {lines}
    return out
"""


def slider(*lines):
    body = "\n    ".join(lines)
    return f"""
def even_slider(lams, clean, robust):
    way = np.array(robust) - np.array(clean)
    way = (way - way[0]) / (way[-1] - way[0])
    {body}
"""


EVEN = "np.linspace(0, 1, len(lams))"


WRONG = {
    "fold_film": [
        (fold("gamma * weight / var.sqrt()", "gamma * (bias - mean * s) + beta"), "eps is missing"),
        (fold("gamma * weight / (var + eps)", "gamma * (bias - mean * s) + beta"), "root of var"),
        (fold("s", "bias - mean * s + beta"), "BatchNorm alone"),
        (fold("gamma / (var + eps).sqrt()", "gamma * (bias - mean * s) + beta"), "`weight` is missing"),
        (fold("gamma * s", "bias - mean * s + beta"), "all that BatchNorm adds"),
        (fold("gamma * s", "gamma * bias + beta"), "mean that BatchNorm takes away"),
        ("def fold_film(mean, var, weight, bias, gamma, beta):\n    return gamma", "two tensors"),
    ],
    "stop_weights": [
        (weights("out[0], out[-1] = 1 - lam, lam"), "two ends only"),
        (weights("out[i if t > 0.5 else i - 1] = 1.0"), "takes one stop"),
        (weights("out[i - 1], out[i] = t, 1 - t"), "wrong way round"),
        (weights("out[i - 1], out[i] = 1.0, t"), "add up to 1"),
        ("def stop_weights(lam, stops):\n    at = torch.arange(len(stops)) - lam * (len(stops) - 1)\n"
         "    return (1 - at.abs()).clamp(min=0)", "not evenly spaced"),
        (weights("out[i - 1], out[i] = 1 - t, t\n    out = out if lam < 1 else out.flip(0)"), "end λ = 1"),
    ],
    "even_slider": [
        (slider("return lams"), "λ itself"),
        (slider("return way"), "largest of ten moves"),
        (slider(f"return np.interp({EVEN}, way, lams)[:-1]"), "11 values"),
        (slider(f"return np.interp({EVEN}, way, lams)[::-1]"), "begin at λ = 0"),
        (slider(f"at = np.searchsorted(way, {EVEN}).clip(1, len(way) - 1)",
                "gap = way[at] - way[at - 1]",
                f"t = ({EVEN} - way[at - 1]) / gap",
                "out = np.array(lams)[at - 1] + t * 0.1",
                "out = np.sort(out) if (np.diff(way) >= 0).all() else out[[0, 1, 3, 2, 4, 5, 6, 7, 8, 9, 10]]",
                "return [0.0, *out[1:-1], 1.0]"), "largest value so far"),
        (slider("return None"), "list of λ"),
    ],
}  # fmt: skip
