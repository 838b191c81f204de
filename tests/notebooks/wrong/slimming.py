"""Typical wrong answers to the exercises of lesson 06, and what the learner is told."""

LOOP = """
def slim_step(f, x, y, widths):
    total = 0.0
    for width in {}:
        loss = F.cross_entropy(f(x, width), y){}
        loss.backward()
        total += loss.item()
    return {}"""

WRONG = {
    "sliced_conv": [
        ("def sliced_conv(x, weight, out):\n    return F.conv2d(x, weight[:out], padding=1)", "second to x.shape"),
        ("def sliced_conv(x, weight, out):\n    return F.conv2d(x, weight[:, : x.shape[1]], padding=1)", "all outputs"),
        ("def sliced_conv(x, weight, out):\n    return F.conv2d(x, weight[:out, : x.shape[1]])", "became smaller"),
        ("def sliced_conv(x, weight, out):\n    return F.conv2d(x, weight[-out:, -x.shape[1] :], padding=1)", "FIRST"),
        ("def sliced_conv(x, weight, out):\n    w = weight[:out, : x.shape[1]]\n    return F.conv2d(x, w, padding=1)",
         "whatever k"),
    ],
    "calibrated_stats": [
        ("def calibrated_stats(batches):\n    return torch.cat(batches).mean((0, 2, 3))", "two tensors"),
        ("def calibrated_stats(batches):\n    every = torch.stack(batches)\n"
         "    return every.mean((0, 1)), every.var((0, 1))", "one mean for all images"),
        ("def calibrated_stats(batches):\n    mean, var = torch.zeros(3), torch.ones(3)\n    for b in batches:\n"
         "        mean, var = 0.9 * mean + 0.1 * b.mean((0, 2, 3)), 0.9 * var + 0.1 * b.var((0, 2, 3))\n"
         "    return mean, var", "average of the means"),
        ("def calibrated_stats(batches):\n    every = torch.stack(batches)\n"
         "    return every.mean((0, 1, 3, 4)), every.var((1, 3, 4), unbiased=False).mean(0)", "unbiased"),
        ("def calibrated_stats(batches):\n    every = torch.stack(batches)\n"
         "    return every.mean((0, 1, 3, 4)), every.std((1, 3, 4)).mean(0)", "standard deviation"),
        ("def calibrated_stats(batches):\n    every = torch.cat(batches)\n"
         "    return every.mean((0, 2, 3)), every.var((0, 2, 3))", "thrown together"),
    ],
    "slim_step": [
        ("def slim_step(f, x, y, widths):\n    return sum(F.cross_entropy(f(x, w), y) for w in widths)", "has arrived"),
        ("def slim_step(f, x, y, widths):\n    loss = F.cross_entropy(f(x, 1.0), y)\n    loss.backward()\n"
         "    return loss.item()", "asked once"),
        (LOOP.format("sorted(widths, reverse=True)", " / len(widths)", "total"), "averaged"),
        (LOOP.format("sorted(widths, reverse=True)", "\n        f.zero_grad()", "total"), "clear nothing"),
        (LOOP.format("widths", "", "total"), "largest width should come first"),
        (LOOP.format("sorted(widths, reverse=True)", "", "loss.item()"), "sum of the losses"),
    ],
}  # fmt: skip
