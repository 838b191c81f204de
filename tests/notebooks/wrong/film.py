"""Typical wrong answers to the exercises of lesson 04, and what the learner is told."""


def film(line):
    return f"def film(x, gamma, beta):\n    g, b = gamma[:, :, None, None], beta[:, :, None, None]\n    return {line}"


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


WRONG = {
    "film": [
        (film("x * gamma + beta"), "columns, not channels"),
        (film("x * g[:1] + b[:1]"), "same γ and β"),
        (film("x + b"), "γ is missing"),
        (film("x * g"), "β is missing"),
        (film("x * (1 + g) + b"), r"1 \+ γ"),
        (film("(x + b) * g"), "first multiply"),
    ],
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
}  # fmt: skip
