"""Typical wrong answers to the exercises of lesson 06, and what the learner is told."""

SWITCH = """class SwitchBN(nn.Module):
    def __init__(self, outs):
        super().__init__()
        self.outs = list(outs)
        self.each = nn.ModuleList([DualBN(out) for out in outs])

    def forward(self, x, branch, index):
        return self.each[index](x, branch)
"""
BLOCK = """class SlimBlock(nn.Module):
    def __init__(self, cin, outs, stride, code_dim):
        super().__init__()
        self.outs = outs
        self.conv = nn.Conv2d(cin, outs[-1], 3, stride, padding=1, bias=False)
        self.norm = SwitchBN(outs)
        self.film = FiLM(code_dim, outs[-1])

    def forward(self, x, branch, code, index):
        out = self.outs[index]
        x = sliced_conv(x, self.conv.weight, out, self.conv.stride)
        x = self.norm(x, branch, index)
        gamma, beta = narrow_film(self.film, code, out)
        return torch.relu(gamma[:, :, None, None] * x + beta[:, :, None, None])
"""
STEP = """def oats_step(net, x, y, stop, n_clean, attack, loss):
    lam = torch.tensor(net.stops)[stop]
    rest = stop[n_clean:]
    total = 0.0
    for index in reversed(range(len(net.widths))):
        net.eval()
        x_adv = attack(lambda images: net(images, rest, index), x[n_clean:], y[n_clean:])
        net.train()
        clean = net(x, stop, index)
        attacked = net(x_adv, rest, index)
        value = loss(clean, attacked, y, lam, n_clean) / len(net.widths)
        value.backward()
        total = total + value.detach()
    return total
"""
CONV = "def sliced_conv(x, weight, out, stride=1):\n"
KEEP = "def keep_channels(pruned, x, y, share):\n    return {}"
LARGEST = "[w.abs().sum((1, 2, 3)).topk(int(len(w) * share)).indices for w in pruned.weights]"
AGREE = """def agreement(x, weight):
    terms = [F.conv2d(x[:, i : i + 1], weight[:, i : i + 1]) for i in range(x.shape[1])]
    of_sum = sum(terms).var((0, 2, 3))
    of_terms = sum(term.var((0, 2, 3)) for term in terms)
    return {}
"""


def changed(code, old, new):
    """A solution with one mistake."""
    assert code.count(old) == 1, old
    return code.replace(old, new)


WRONG = {
    "sliced_conv": [
        (CONV + "    return F.conv2d(x, weight[:out], stride=stride, padding=1)", "second to x.shape"),
        (CONV + "    return F.conv2d(x, weight[:, : x.shape[1]], stride=stride, padding=1)", "all outputs"),
        (CONV + "    return F.conv2d(x, weight[:out, : x.shape[1]], stride=stride)", "became smaller"),
        (CONV + "    return F.conv2d(x, weight[-out:, -x.shape[1] :], stride=stride, padding=1)", "FIRST"),
        (CONV + "    w = weight[:out, : x.shape[1]]\n    return F.conv2d(x, w, stride=stride, padding=1)",
         "whatever k"),
        (CONV + "    return F.conv2d(x, weight[:out, : x.shape[1]], padding=weight.shape[-1] // 2)",
         "stride is not used"),
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
    "agreement": [
        (AGREE.format("of_sum.mean() / of_terms.mean()"), "one number"),
        (AGREE.format("of_terms / of_sum"), "upside down"),
        (AGREE.format("of_sum / of_terms * x.shape[1]"), "mean of the variances"),
        (AGREE.format("of_sum"), "divide it by"),
        (AGREE.format("sum(terms).std((0, 2, 3)) / sum(t.std((0, 2, 3)) for t in terms)"), "do not add"),
        (AGREE.format("(of_sum / of_terms).sqrt()"), "it should be the variance"),
    ],
    "SwitchBN": [
        (changed(SWITCH, "nn.ModuleList([DualBN(out) for out in outs])", "[DualBN(out) for out in outs]"),
         "plain list"),
        (changed(SWITCH, "[DualBN(out) for out in outs]", "[DualBN(outs[-1])]"), "one DualBN per width"),
        (changed(SWITCH, "[DualBN(out) for out in outs]", "[DualBN(outs[-1])] * len(outs)"), "share one DualBN"),
        (changed(SWITCH, "DualBN(out) for", "DualBN(outs[-1]) for"), "as many channels as width i"),
        (changed(SWITCH, "self.each[index]", "self.each[self.outs.index(x.shape[1])]"), "Use the index"),
        (changed(SWITCH, "(x, branch)", "(x, 1 - branch)"), "wrong way round"),
        (changed(SWITCH, "(x, branch)", "(x, torch.zeros_like(branch))"), "clean row"),
        ("def SwitchBN(outs):\n    return None", "inherits from nn.Module"),
    ],
    "SlimBlock": [
        (changed(BLOCK, "self.norm =", "self.bn =").replace("self.norm(", "self.bn("), "self.norm"),
        (changed(BLOCK, "nn.Conv2d(cin, outs[-1]", "nn.Conv2d(cin, outs[0]"), "weights of the full width"),
        (changed(BLOCK, ", bias=False", ""), "the conv has a bias"),
        (changed(BLOCK, "SwitchBN(outs)", "DualBN(outs[-1])"), "should be SwitchBN"),
        (changed(BLOCK, "FiLM(code_dim, outs[-1])", "FiLM(code_dim, outs[0])"), "one generator for all widths"),
        (changed(BLOCK, "sliced_conv(x, self.conv.weight, out, self.conv.stride)", "self.conv(x)"), "not a narrow one"),
        (changed(BLOCK, ", self.conv.stride)", ")"), "stride is not passed"),
        (changed(BLOCK, "torch.relu(gamma[:, :, None, None] * x + beta[:, :, None, None])",
                 "gamma[:, :, None, None] * x + beta[:, :, None, None]"), "ReLU is missing"),
        (changed(BLOCK, "gamma[:, :, None, None] * x + beta[:, :, None, None]", "x"), "FiLM is missing"),
        (changed(BLOCK, "narrow_film(self.film, code, out)", "(row[:, :out] for row in self.film(code))"),
         "whole generator"),
        (changed(BLOCK, "self.norm(x, branch, index)", "self.norm(x, 1 - branch, index)"), "it should be relu"),
    ],
    "oats_step": [
        (changed(STEP, "        net.eval()\n", ""), "training mode"),
        (changed(STEP, "        net.train()\n", ""), "stays in eval mode"),
        (changed(STEP, "x[n_clean:], y[n_clean:])", "x, y)"), "attacks all images"),
        (changed(STEP, "net(images, rest, index)", "net(images, rest * 0 + 1, index)"), "another λ"),
        (changed(STEP, "net(images, rest, index)", "net(images, rest, 2)"), "each one for itself"),
        (changed(STEP, "attacked = net(x_adv, rest, index)", "attacked = net(x_adv, rest, 2)"), "pass `index` there"),
        (changed(STEP, "        value.backward()\n", ""), "No gradient|no gradient"),
        (changed(STEP, "        net.train()\n", "        net.train()\n        net.zero_grad()\n"), "cleared between"),
        (changed(STEP, " / len(net.widths)", ""), "takes the mean"),
        (changed(STEP, "reversed(range(len(net.widths)))", "range(len(net.widths))"), "largest width"),
        (changed(STEP, "reversed(range(len(net.widths)))", "(2, 0)"), "attacked once"),
        (changed(STEP, "    return total", "    return None"), "mean of the losses"),
        (changed(STEP, "value.detach()", "value"), "carries a graph"),
        (changed(STEP, "loss(clean, attacked, y, lam, n_clean)", "loss(clean, attacked, y, stop * 1.0, n_clean)"),
         "mean hybrid loss"),
    ],
    "keep_channels": [
        (KEEP.format("pruned.first(share)"), "wanted for both"),
        (KEEP.format(LARGEST), "wanted for both"),
        (KEEP.format("None"), "list of three tensors"),
        (KEEP.format("pruned.first(1.0)"), "are wanted, so"),
        (KEEP.format("[index * 0 for index in pruned.first(share)]"), "different channels"),
        (KEEP.format("[index + 0.5 for index in pruned.first(share)]"), "whole numbers"),
    ],
}  # fmt: skip
